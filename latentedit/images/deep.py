"""16 bits a sample where Pillow shows 8: reading them from PNG and TIFF files, and writing them.

Pillow decodes such files whole and then keeps the high byte of every sample; asked for the other byte order, it keeps
the low one. Legend: ``H`` x ``W`` pixels, ``C`` channels; samples are uint16 [H,W,C].
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from latentedit.images.photo import Samples, Space

_SWAPPED = {"16B": "16L", "16L": "16B"}
_NATIVE = "16L" if np.little_endian else "16B"
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type
_DEFLATE = 8
_STRIP = 4_000_000  # bytes


@dataclass(frozen=True)
class LowBytes:
    """The low bytes of a picture's samples, upright, in the mode in which Pillow shows the high ones; of 16-bit
    ``grey_alpha``, which Pillow shows as RGBA, all four bytes of a pixel in their order."""

    image: Image.Image
    grey_alpha: bool = False


def low_bytes(image: Image.Image) -> LowBytes | None:
    """The low bytes of a 16-bit PNG or TIFF that is opened and not yet decoded; None of other pictures, and of grey
    ones without alpha, which Pillow shows whole."""
    tiles: Any = getattr(image, "tile", None)
    if image.format not in ("PNG", "TIFF") or not tiles or image.mode.startswith(("I", "F")):
        return None
    swapped = [_swap(tile) for tile in tiles]
    if any(tile is None for tile in swapped):
        return None
    grey_alpha = is_grey_alpha(image)
    image.tile = swapped  # pyright: ignore[reportAttributeAccessIssue]
    return LowBytes(ImageOps.exif_transpose(image), grey_alpha)


def is_grey_alpha(image: Image.Image) -> bool:
    """Whether an opened picture is 16-bit grey with alpha, which Pillow shows as RGBA."""
    tiles = getattr(image, "tile", None)
    return bool(tiles) and _raw_mode(tiles[0]) == "LA;16B"


def _raw_mode(tile: Any) -> str:
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


def _swap(tile: Any) -> Any:
    raw = _raw_mode(tile)
    name, _, depth = raw.partition(";")
    depth = _NATIVE if depth == "16N" else depth
    if raw == "LA;16B":
        other = "RGBA"
    elif depth in _SWAPPED and name in ("RGB", "RGBA", "CMYK"):
        other = f"{name};{_SWAPPED[depth]}"
    else:
        return None
    return tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)


def join_bytes(high: np.ndarray, low: LowBytes, space: Space) -> Samples:
    """Samples of both bytes; ``high`` [H,W,C] is the picture as Pillow shows it."""
    other = np.asarray(low.image)
    if low.grey_alpha:
        grey, alpha = (other[..., i].astype(np.uint16) << 8 | other[..., i + 1] for i in (0, 2))
        return Samples(np.stack([grey, alpha], axis=-1), "L", alpha=True, white=65535.0)
    wide = high.astype(np.uint16) << 8
    wide |= other
    return Samples(wide, space, alpha=high.shape[2] == len(space) + 1, white=65535.0)


def write_png(path: Path, values: np.ndarray, *, chunks: Iterable[tuple[bytes, bytes]]) -> None:
    """Write uint16 samples [H,W,C] (grey, grey and alpha, RGB, RGBA) as PNG, with ``chunks`` (name, data) before them.

    Rows are filtered by the difference from the row above (PNG specification, third edition, 9.2, filter type 2).
    """
    height, width, count = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[count], 0, 0, 0)
    packer = zlib.compressobj(6)
    with path.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        _chunk(stream, b"IHDR", header)
        for name, data in chunks:
            _chunk(stream, name, data)
        above = np.zeros(width * count * 2, np.uint8)
        for first in range(0, height, 256):
            rows = np.frombuffer(values[first : first + 256].astype(">u2").tobytes(), np.uint8).reshape(-1, len(above))
            filtered = np.full((len(rows), len(above) + 1), 2, np.uint8)
            filtered[:, 1:] = rows - np.vstack([above[None], rows[:-1]])
            above = rows[-1]
            packed = packer.compress(filtered.tobytes())
            if packed:
                _chunk(stream, b"IDAT", packed)
        _chunk(stream, b"IDAT", packer.flush())
        _chunk(stream, b"IEND", b"")


def _chunk(stream: Any, name: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def write_tiff(path: Path, samples: Samples, *, tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Write samples of any space and depth as TIFF, deflated in strips, with ``tags`` (EXIF, profile, resolution).

    Rows of whole numbers are differences from the pixel to the left (TIFF 6.0, section 14, predictor 2).
    """
    values = samples.values
    height, width, count = values.shape
    kind = values.dtype.kind
    rows = max(1, _STRIP // (width * count * values.itemsize))
    strips = []
    for first in range(0, height, rows):
        part = values[first : first + rows]
        if kind != "f":
            part = np.concatenate([part[:, :1], part[:, 1:] - part[:, :-1]], axis=1)
        strips.append(zlib.compress(part.astype(part.dtype.newbyteorder("<")).tobytes(), 6))
    tags[256], tags[257], tags[258], tags[259] = width, height, (8 * values.itemsize,) * count, _DEFLATE
    tags[262] = {"L": 1, "RGB": 2, "CMYK": 5}[samples.space]
    tags[277], tags[278], tags[284], tags[317] = count, rows, 1, 1 if kind == "f" else 2
    tags[339] = ({"u": 1, "i": 2, "f": 3}[kind],) * count
    if samples.alpha:
        tags[338] = 2
    sizes = [len(strip) for strip in strips]
    tags.tagtype[273] = tags.tagtype[279] = 4
    tags[279] = tuple(sizes)
    tags[273] = tuple(int(offset) for offset in np.cumsum([0, *sizes[:-1]]))  # Pillow adds the place of the first
    with path.open("wb") as stream:
        tags.save(stream)
        for strip in strips:
            stream.write(strip)
