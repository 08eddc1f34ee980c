"""What every kind of film and sheet does to its pictures first, one by one."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from latentedit.errors import OutputError

Frame = Image.Image | np.ndarray


def prepare(frames: Iterable[Frame], size: int | None) -> Iterator[Image.Image]:
    """``frames`` as RGB images of one size, ``size`` pixels wide.

    Raises:
        OutputError: there are none, or they differ in size.
    """
    first: tuple[int, int] | None = None
    for frame in frames:
        image = as_image(frame)
        first = first or image.size
        if image.size != first:
            sizes = sorted({first, image.size})
            raise OutputError(f"Frames of different sizes {sizes} make no film.", "Resize them to one size first.")
        if size is not None and size != image.width:
            image = scale(image, (size, max(1, round(image.height * size / image.width))))
        yield image
    if first is None:
        raise OutputError("There are no frames to write.", "Ask for at least one frame.")


def as_image(frame: Frame) -> Image.Image:
    image = frame if isinstance(frame, Image.Image) else Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def scale(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Lanczos rings when it enlarges; bicubic keeps skin smooth.
    enlarge = size[0] > image.width
    return image.resize(size, Image.Resampling.BICUBIC if enlarge else Image.Resampling.LANCZOS)


class Spool:
    """RGB images of one size on the disk, packed, for a film that has to be looked at twice."""

    def __init__(self, frames: Iterable[Image.Image]) -> None:
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self._places: list[tuple[int, int]] = []
        self.size = (0, 0)
        for frame in frames:
            packed = zlib.compress(frame.tobytes(), 1)
            self._places.append((self._file.tell(), len(packed)))
            self._file.write(packed)
            self.size = frame.size

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Image.Image:
        offset, length = self._places[index]
        self._file.seek(offset)
        return Image.frombytes("RGB", self.size, zlib.decompress(self._file.read(length)))

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
