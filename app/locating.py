"""Find the folder of a checkpoint by what people call it: a name, a folder, or an id on the Hugging Face Hub."""

import re
from importlib import import_module
from pathlib import Path

from waveletgpt.app.checkpoints import SHIPPED, find_checkpoints
from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import FILES

HUB_ID = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
"""OWNER/NAME or OWNER/NAME@REVISION."""


def locate(name: str | Path) -> Path:
    """The folder of a checkpoint.

    Args:
        name: the folder of a checkpoint or of a training run; the name of a checkpoint that ships with waveletgpt; or
            the id of one on the Hugging Face Hub, which is downloaded into its cache. If there is a folder OWNER here,
            OWNER/NAME is meant to be in it, and nothing is downloaded.

    Raises:
        InputError: there is no such checkpoint.
    """
    folders = (Path(name), Path(name) / "best", SHIPPED / name)
    found = next((folder for folder in folders if (folder / "config.json").is_file()), None)
    if found is None and (named := HUB_ID.fullmatch(f"{name}")) and not Path(name).parent.exists():
        return _download(named[1], named[2])
    if found is None:
        shipped = ", ".join(entry.name for entry in find_checkpoints(SHIPPED))
        raise InputError(
            f"{name} is not a checkpoint; give a folder with a config.json, OWNER/NAME on the Hub, or {shipped}"
        )
    return found


def _download(repository: str, revision: str | None) -> Path:
    try:
        download = import_module("huggingface_hub").snapshot_download
        return Path(download(repository, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:  # all errors of the Hub are one or the other
        reason = " ".join(str(error).split())
        raise InputError(
            f"{repository} is no folder here, and the Hugging Face Hub did not give it: {reason}"
        ) from None
