"""Pictures into ffmpeg, one by one: nothing of a film is held but the frame at hand."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from latentedit.errors import MissingExtraError, OutputError


class Push(Protocol):
    """Takes the next frame of a film."""

    def __call__(self, frame: Image.Image) -> None: ...


def find_ffmpeg() -> str:
    """The ffmpeg program.

    Raises:
        MissingExtraError: neither imageio-ffmpeg's nor another is there.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"This kind of film needs ffmpeg, which is not here ({error}).",
            "Run `pip install imageio-ffmpeg`, or save as .gif.",
        ) from error


@contextmanager
def encoder(path: Path, size: tuple[int, int], fps: float, arguments: Sequence[str]) -> Iterator[Push]:
    """A running ffmpeg that writes RGB frames of ``size`` (width, height) to ``path``, encoded by ``arguments``.

    Raises:
        MissingExtraError: no ffmpeg. OutputError: ffmpeg refused; its last words are in the message.
    """
    width, height = size
    command = [find_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{fps:.6f}", "-i", "-", *arguments, str(path)]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words)
        assert process.stdin is not None
        pipe = process.stdin

        def push(frame: Image.Image) -> None:
            array = np.asarray(frame)
            padding = ((0, height - array.shape[0]), (0, width - array.shape[1]), (0, 0))
            try:
                pipe.write(np.ascontiguousarray(np.pad(array, padding, mode="edge")).data)
            except OSError as error:
                process.wait()
                raise _refused(path, words) from error

        try:
            yield push
            pipe.close()
            if process.wait() != 0 or not path.stat().st_size:
                raise _refused(path, words)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            if not pipe.closed:
                pipe.close()


def _refused(path: Path, words: object) -> OutputError:
    words.seek(0)  # type: ignore[attr-defined]
    lines = words.read().decode("utf-8", "replace").strip().splitlines()  # type: ignore[attr-defined]
    reason = lines[-1] if lines else "it wrote nothing"
    return OutputError(f"ffmpeg could not write a {path.suffix} file: {reason}.", "Try .gif, or another folder.")
