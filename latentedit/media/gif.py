"""GIF, frame by frame: one palette for the film, and of every frame what differs from the one before.

Pillow's own writer of animations keeps all frames in memory; its writers of a header and of one frame do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import GifImagePlugin, Image

from latentedit.media.palette import UNCHANGED

_LONGEST = 65535  # hundredths of a second that a frame can last


def write_gif(path: Path, frames: Iterable[Image.Image], hundredths: Sequence[int], *, loop: bool) -> None:
    """Write paletted ``frames`` (mode P, one palette, index ``UNCHANGED`` unused), each shown for its ``hundredths``.

    Frames that show the same as the one before lengthen it.
    """
    with path.open("wb") as stream:
        shown: np.ndarray | None = None
        waiting: tuple[Image.Image, tuple[int, int], int] | None = None
        for frame, length in zip(frames, hundredths, strict=True):
            indices = np.asarray(frame)
            if shown is None:
                stream.write(_header(frame, loop))
                part, place = frame, (0, 0)
            else:
                found = _difference(frame, indices, shown)
                if found is None and waiting is not None and waiting[2] + length <= _LONGEST:
                    waiting = (*waiting[:2], waiting[2] + length)
                    continue
                part, place = found or (frame.crop((0, 0, 1, 1)), (0, 0))
            _flush(stream, waiting)
            waiting, shown = (part, place, length), indices
        _flush(stream, waiting)
        stream.write(b";")


def _header(frame: Image.Image, loop: bool) -> bytes:
    info: dict[str, Any] = {"duration": 1} | ({"loop": 0} if loop else {})
    return b"".join(GifImagePlugin.getheader(frame, info=info)[0])


def _difference(frame: Image.Image, new: np.ndarray, old: np.ndarray) -> tuple[Image.Image, tuple[int, int]] | None:
    """The part of ``frame`` in which something changes, and its place; pixels that stay are transparent in it."""
    differ = new != old
    if not differ.any():
        return None
    rows, columns = np.flatnonzero(differ.any(axis=1)), np.flatnonzero(differ.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    values = np.where(differ, new, UNCHANGED)[top:bottom, left:right].astype(np.uint8)
    part = Image.frombytes("P", (int(right - left), int(bottom - top)), values.tobytes())
    palette = frame.getpalette()
    assert palette is not None
    part.putpalette(palette)
    return part, (int(left), int(top))


def _flush(stream: Any, waiting: tuple[Image.Image, tuple[int, int], int] | None) -> None:
    if waiting is not None:
        part, place, length = waiting
        options = {"duration": 10 * length, "disposal": 1, "transparency": UNCHANGED, "include_color_table": False}
        for block in GifImagePlugin.getdata(part, place, **options):
            stream.write(block)
