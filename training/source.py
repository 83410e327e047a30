"""Where data come from: a file, a folder, an archive, a URL, or what the project makes itself."""

import gzip
import http.client
import lzma
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from waveletgpt.common.errors import InputError
from waveletgpt.training.progress import progress_bar

BUILTIN = "builtin"
TIMEOUT_SECONDS = 60
UNREADABLE = (
    *(OSError, EOFError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    RuntimeError,  # zipfile's for a password, or a compression it does not know
)


@contextmanager
def opened_source(source: str, builtin: Callable[[Path], None]) -> Iterator[Path]:
    """Yield the file or folder that `source` names: a path, or a URL that is downloaded; archives are unpacked.

    Archives are .zip, .tar, .tar.gz, .tgz; a lone .gz is decompressed to the file it holds. For `builtin` the
    function of that name fills a folder. What was unpacked, downloaded or made is removed when the block ends.
    Raises InputError if the source is missing or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="waveletgpt-") as scratch:
        path = Path(source)
        if source == BUILTIN:
            path = Path(scratch) / BUILTIN
            path.mkdir()
            builtin(path)
        elif source.startswith(("http://", "https://")):
            path = _download(source, Path(scratch))
        if not path.exists():
            raise InputError(f"{source} does not exist; --source takes a file, a folder, an archive or a URL")
        yield path if path.is_dir() else _unpacked(path, Path(scratch) / "unpacked")


def files_under(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The file `path`, or all files below the folder `path` with one of `suffixes`, sorted by name.

    Hidden files, such as those that macOS adds to archives, are left out.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise InputError(f"{path} holds no files ending in {', '.join(suffixes)}")
    return found


def _download(url: str, scratch: Path) -> Path:
    try:
        target = scratch / (Path(urlparse(url).path).name or "download")
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,  # noqa: S310, http(s) only
            target.open("wb") as file,
        ):
            total = int(response.headers.get("Content-Length", 0))
            with progress_bar(f"downloading {target.name}, MB", total / 1e6 or None) as advance:
                while block := response.read(1 << 20):
                    file.write(block)
                    advance(len(block) / 1e6)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise InputError(f"{url} cannot be downloaded: {error}") from None
    if total and target.stat().st_size != total:
        raise InputError(f"{url} broke off after {target.stat().st_size} of {total} bytes; try again")
    return target


def _unpacked(path: Path, target: Path) -> Path:
    """`path` itself, or what it holds if it is an archive, below `target`."""
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
        elif name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(path) as tar:
                tar.extractall(target, filter="data")
        elif name.endswith(".gz"):
            target.mkdir()
            with gzip.open(path) as packed, (target / path.name[:-3]).open("wb") as file:
                shutil.copyfileobj(packed, file)
            return target / path.name[:-3]
        else:
            return path
    except UNREADABLE as error:
        raise InputError(f"{path} is damaged and cannot be unpacked: {error}") from None
    members = list(target.iterdir())
    return members[0] if len(members) == 1 and members[0].is_file() else target
