"""What a visitor reads while the browser still fetches gradio's scripts: the opening of the text tab, as plain HTML."""

import gzip

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.openings import opening
from waveletgpt.app.results import shared_tokens
from waveletgpt.app.web.markup import ABOUT, escape
from waveletgpt.app.web.scripts import script
from waveletgpt.app.web.session import CARDS
from waveletgpt.common.errors import InputError

PLACE = b"<gradio-app"
"""What the first look comes before."""


def first_look(library: Library) -> str:
    """The opening of the text tab; "" if its checkpoints are not in `library`. A script removes it once the tab shows
    its own.
    """
    text = load_modality("text")
    try:
        results = [result for result in opening(text, library.entries()) if result]
    except InputError:  # a checkpoint is damaged, which the page tells
        return ""
    shared = shared_tokens(results)
    cards = "".join(
        f"<section><h2>{name.upper()}: {escape(result.name)}</h2>"
        f"{text.view(result.completion, result.loaded.tokenizer, shared)}</section>"
        for name, result in zip(CARDS, results, strict=False)
    )
    if not cards:
        return ""
    return script("first.html").format(about=ABOUT, cards=cards, style=script("first.css"), script=script("first.js"))


class FirstLook:
    """ASGI middleware that puts HTML at the head of the page's body."""

    def __init__(self, app: ASGIApp, html: str) -> None:
        self.app, self.html = app, html.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""
        wanted = Headers(scope=scope).get("accept-encoding", "")
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]

        async def completed(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(PLACE, self.html + PLACE, 1)
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            if "gzip" in wanted:
                body = gzip.compress(body, compresslevel=5)
                headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
            await send({**start, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": plain}, receive, completed)  # gradio would compress what is changed here
