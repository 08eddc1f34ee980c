"""Download checkpoints: resumable, and with hashes that are known or remembered from the first time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from latentedit.errors import LatentEditError, ModelError
from latentedit.files import atomic_path
from latentedit.models.locations import PACKAGED, data_folder

CHUNK = 1 << 14
"""Bytes that are written at a time: at most so many are lost when a connection breaks."""

ByteProgress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all, where the server tells."""


@dataclass(frozen=True)
class Known:
    """A published model: where it is, its SHA-256 where that is known, and on what terms it comes."""

    url: str
    licence: str
    sha256: str | None = None


_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
_THREE = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files"
_TERMS = "NVIDIA Source Code License, non-commercial"
KNOWN: dict[str, Known] = {
    "stylegan2-ffhq": Known(f"{_ADA}/ffhq.pkl", _TERMS),
    "metfaces": Known(f"{_ADA}/metfaces.pkl", _TERMS),
    "stylegan3-t-ffhq": Known(f"{_THREE}/stylegan3-t-ffhq-1024x1024.pkl", _TERMS),
    "stylegan3-r-ffhq": Known(f"{_THREE}/stylegan3-r-ffhq-1024x1024.pkl", _TERMS),
}


def resolve(name: str) -> Known:
    """The download that ``name`` (a known name or a http(s) address) stands for.

    Raises:
        ModelError: neither.
    """
    if name in KNOWN:
        return KNOWN[name]
    if urlsplit(name).scheme in ("http", "https"):
        return Known(name, "the terms of its publisher")
    raise ModelError(
        f"No download is known under the name {name!r}.", f"Known: {', '.join([PACKAGED, *KNOWN])}; or give an address."
    )


def fetch(known: Known, *, sha256: str | None = None, progress: ByteProgress | None = None) -> Path:
    """Download a file, or go on where an earlier attempt was cut off; return where it lies.

    The hash is checked against ``sha256``, else the known one, else the one remembered from the first download.

    Raises:
        ModelError: the server cannot be reached or refuses, the file ends early, or its hash is another.
    """
    import pooch

    folder = data_folder() / "downloads"
    memory = folder / "hashes.json"
    expected = sha256 or known.sha256 or _remembered(memory).get(known.url)
    name = f"{hashlib.sha256(known.url.encode()).hexdigest()[:12]}-{Path(urlsplit(known.url).path).name or 'file'}"
    downloader: Any = ResumingDownloader(folder / f"{name}.part", progress)
    pooch.get_logger().setLevel("ERROR")
    try:
        path = pooch.retrieve(known.url, known_hash=expected, fname=name, path=folder, downloader=downloader)
    except LatentEditError:
        raise
    except ValueError as error:  # pooch found another hash
        raise ModelError(
            f"{known.url} does not have the SHA-256 {expected}.",
            "The file changed or was tampered with; give the right one with `--sha256` if you trust it.",
        ) from error
    except OSError as error:
        raise ModelError(f"{known.url} cannot be stored in {str(folder)!r}: {error}.", "Free some space.") from error
    if expected is None:
        _remember(memory, known.url, pooch.file_hash(path))
    return Path(path)


class ResumingDownloader:
    """A pooch downloader that keeps what it got beside the target, and asks the server for the rest.

    The entity tag of the first answer is kept too, so that a file that changed meanwhile is fetched anew.
    """

    def __init__(self, part: Path, progress: ByteProgress | None = None, *, timeout: float = 30.0) -> None:
        self.part = part
        self.tag = part.with_suffix(".etag")
        self.progress = progress
        self.timeout = timeout

    def __call__(self, fname: str, action: Any, pooch: Any, *, check_only: bool | None = None) -> None:
        """Fetch the address ``fname`` into the file ``action``; the names are pooch's."""
        import requests

        start = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.tag.is_file():
                headers["If-Range"] = self.tag.read_text()
        try:
            with requests.get(fname, headers=headers, stream=True, timeout=self.timeout) as response:
                if response.status_code == 416:  # what is there is no beginning of the file any more
                    self.part.unlink()
                    return self(fname, action, pooch)
                response.raise_for_status()
                self._receive(response, start if response.status_code == 206 else 0, fname)
        except requests.RequestException as error:
            raise ModelError(
                f"{fname} cannot be downloaded: {_reason(error)}.", "Try again: what has arrived is kept."
            ) from error
        os.replace(self.part, action)
        self.tag.unlink(missing_ok=True)

    def _receive(self, response: Any, start: int, url: str) -> None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if "ETag" in response.headers:
            self.tag.write_text(response.headers["ETag"])
        done = start
        with self.part.open("ab" if start else "wb") as stream:
            for piece in response.iter_content(CHUNK):
                stream.write(piece)
                done += len(piece)
                if self.progress is not None:
                    self.progress(done, total)
        if total is not None and done != total:
            raise ModelError(f"{url} ended after {done} of {total} bytes.", "Try again: what has arrived is kept.")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return f"no answer ({type(error).__name__})"


def _remembered(path: Path) -> dict[str, str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _remember(path: Path, url: str, digest: str) -> None:
    values = {**_remembered(path), url: digest}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
