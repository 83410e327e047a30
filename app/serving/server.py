"""The server around the page. A failure is one line, for the client and in the log, without the server's folders.

Gradio's own messages name folders and objects of the server, and come with a traceback in the log. A defect of the app
is one line in the log too, since anybody can call the page's functions by hand; at level DEBUG its traceback follows.
"""

import json
import logging
import traceback
from copy import copy
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveletgpt.common.errors import InputError

LARGEST_BODY = 50 << 20
"""Bytes of a request that is no upload. Gradio reads all of it into memory."""
FOREVER = b"public, max-age=31536000, immutable"
"""For gradio's scripts, whose names change with what is in them: a second visit asks for none of the hundred."""
ADVICE = "Something went wrong in the app; its log tells what."
NOT_READ = "the arguments cannot be read; give those that /gradio_api/info lists, and upload files first"
NO_ROOM = "the server cannot write the files of the result; try again later"

SOURCES = Path(__file__).parents[2]

log = logging.getLogger(__name__)


def explained(error: Exception) -> str:
    """What people are told of an error; "" if it is a defect of the app."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        log.warning("warning: a result was not written: %s", _one_line(error))
        return NO_ROOM
    return ""


class Page(gr.Blocks):  # type: ignore[misc]
    """Blocks that answer what cannot be done with one line."""

    def get_config_file(self) -> Any:
        """What the browser builds. It shall not wait for arguments of endpoints, which have no place on the page."""
        config = super().get_config_file()
        for component in config["components"]:
            if component["type"] == "api":
                component["props"]["visible"] = False
        return config

    async def preprocess_data(self, *arguments: Any, **options: Any) -> Any:
        """Check and convert the arguments of a call. What fails here is the caller's fault."""
        try:
            return await super().preprocess_data(*arguments, **options)
        except Exception as error:
            message = error.message if isinstance(error, gr.Error) else NOT_READ
            raise gr.Error(message, print_exception=False) from None

    async def postprocess_data(self, block_fn: Any, predictions: Any, *arguments: Any, **options: Any) -> list[Any]:
        """Convert what a function returned. Gradio builds each output anew that stays as it is, 40 of them in 60 ms at
        every step of a text; those are left out here.
        """
        outputs, changes = block_fn.outputs, predictions if isinstance(predictions, dict) else {}
        changed = [one for one in outputs if one in changes]
        if not changed or len(changed) < len(changes):
            return [*await super().postprocess_data(block_fn, predictions, *arguments, **options)]
        only = copy(block_fn)
        only.outputs = changed
        values = iter(await super().postprocess_data(only, predictions, *arguments, **options))
        return [next(values) if one in changes else None if one.stateful else gr.skip() for one in outputs]

    async def process_api(self, *arguments: Any, **options: Any) -> Any:
        """Call a function of the page or of an endpoint."""
        try:
            return await super().process_api(*arguments, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            told = explained(error)
            if not told:
                log.warning("warning: %s %s", _one_line(error), _place(error), exc_info=log.isEnabledFor(logging.DEBUG))
            raise gr.Error(told or ADVICE, print_exception=False) from None


class Guard:
    """ASGI middleware: answers what gradio's routes fail on, and requests that are too large, with one line; and lets
    browsers keep the scripts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size, begun = 0, False

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY and not scope["path"].endswith("/upload"):  # gradio limits uploads itself
                while message.get("more_body"):  # a client reads no answer before it has sent everything
                    message = await receive()
                    size += len(message.get("body", b""))
                detail = f"this request has {size / 2**20:,.0f} MB; send {LARGEST_BODY >> 20} MB at most"
                raise HTTPException(413, detail)
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            if scope["path"].startswith("/assets/") and message.get("status") == HTTPStatus.OK:
                message["headers"] = [*message["headers"], (b"cache-control", FOREVER)]
            await send(message)

        try:
            await self.app(scope, limited, noted)
        except Exception as error:
            log.warning("warning: %s %s failed: %s", scope["method"], scope["path"][:80], _one_line(error))
            answer = {"error": "this request cannot be answered; /gradio_api/info lists those that can"}
            if begun:  # the events of a call
                body = f"event: error\ndata: {json.dumps(answer)}\n\n".encode()
                await send({"type": "http.response.body", "body": body})
            else:
                await JSONResponse(answer, 400)(scope, receive, send)


def _place(error: Exception) -> str:
    """Where in waveletgpt it came from."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(SOURCES)]
    return f"in {own[-1].name} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else "in gradio"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
