"""Decoding: from files, streams, arrays and PIL images to a `Photo`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from latentedit.errors import ImageError
from latentedit.images.colour import ColourSpace, lab_to_srgb
from latentedit.images.deep import LowBytes, is_grey_alpha, join_bytes, low_bytes
from latentedit.images.info import read_info
from latentedit.images.opener import open_image
from latentedit.images.photo import Photo, PhotoInfo, Samples

ImageSource: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray | Photo"

MAX_PIXELS = 250_000_000
"""Photos with more pixels than this are refused before anything of them is decoded. A photo of that size takes 1 GB
where it is 8-bit RGB, and editing it four times as much."""

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError)


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photo to 8-bit sRGB, upright.

    EXIF rotation is applied, transparency is laid over white, palettes, CMYK, greyscale, 16-bit and float images are
    converted, an embedded colour profile is converted to sRGB, and of an animation the first frame is taken.

    Args:
        source: a path, a binary stream, a PIL image, an array (uint8 ``[H,W,3]``, ``[H,W,4]`` or ``[H,W]``), or a
            `Photo`, whose rendition is returned.
        max_pixels: the largest ``H * W`` that is accepted.

    Raises:
        ImageError: the file is missing, no image, damaged, or too large; or the array has no image's shape.
    """
    return source.rgb if isinstance(source, Photo) else _read(source, max_pixels, whole=False).rgb


def open_photo(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a photo with what it carries: its own samples in their depth and colour space, profile, EXIF, XMP, DPI.

    Arguments and errors are those of `load_image`. Depth is kept of grey pictures, and of 16-bit PNG and TIFF files and
    streams; a PIL image has as much as it holds.
    """
    return source if isinstance(source, Photo) else _read(source, max_pixels, whole=True)


def _read(source: Any, max_pixels: int, *, whole: bool) -> Photo:
    if isinstance(source, np.ndarray):
        source, name = _from_array(source), "The array"
    elif isinstance(source, Image.Image):
        name = "The image"
    elif isinstance(source, str | os.PathLike):
        return replace(_read_file(Path(source), repr(os.fspath(source)), max_pixels, whole), path=Path(source))
    elif hasattr(source, "read"):
        return _read_file(_seekable(source), repr(getattr(source, "name", "the stream")), max_pixels, whole)
    else:
        raise ImageError(
            f"{source!r} is no photo.", "Give a path, an open file, a PIL image, or a uint8 array [H,W,3]."
        )
    _check_size(source, name, max_pixels)
    upright = _upright(source, name)
    return _decode(upright, read_info(source, upright) if whole else None, name)


def _read_file(file: Path | IO[bytes], name: str, max_pixels: int, whole: bool) -> Photo:
    with _opened(file, name, max_pixels) as image:
        deep = whole and image.format in ("PNG", "TIFF")
        grey_alpha = is_grey_alpha(image)
        upright = _upright(image, name)
        info = read_info(image, upright) if whole else None
    if grey_alpha:  # Pillow shows 16-bit grey with alpha as RGBA
        upright = upright.convert("LA")
    low = None
    if deep:
        with _opened(file, name, max_pixels) as image:
            low = _guarded(name, lambda: low_bytes(image))
    return _decode(upright, info, name, low)


def _seekable(stream: IO[bytes]) -> IO[bytes]:
    seekable = getattr(stream, "seekable", None)
    return stream if seekable is not None and seekable() else io.BytesIO(stream.read())


@contextmanager
def _opened(file: Any, name: str, max_pixels: int) -> Iterator[Image.Image]:
    with open_image(file, name) as image:
        _check_size(image, name, max_pixels)
        yield image


def _check_size(image: Image.Image, name: str, limit: int) -> None:
    if image.width * image.height > limit:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels, and the limit is {limit / 1e6:g} million.",
            "Scale the photo down first, or raise max_pixels.",
            typed="Scale the photo down first, or raise --max-pixels.",
        )
    if not image.width or not image.height:
        raise ImageError(f"{name} has no pixels.", "Give an image with at least one pixel.")


def _guarded(name: str, work: Any) -> Any:
    try:
        return work()
    except _DAMAGE as error:
        reason = (str(getattr(error, "strerror", None) or error) or type(error).__name__).rstrip(".")
        raise ImageError(f"{name} is damaged or cut short: {reason}.", "Save or download the photo again.") from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            f"An array of dtype {array.dtype} is not a photo.",
            "Give uint8 values, or turn a tensor into one (to_uint8).",
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"An array of shape {array.shape} is not a photo.", "Give [H,W,3], [H,W,4], or [H,W].")
    return Image.fromarray(array)


def _upright(image: Image.Image, name: str) -> Image.Image:
    """The decoded picture, turned as its EXIF says; never the caller's own object."""
    return _guarded(name, lambda: ImageOps.exif_transpose(image))


def _decode(upright: Image.Image, info: PhotoInfo | None, name: str, low: LowBytes | None = None) -> Photo:
    """A `Photo` of a decoded image; without ``info`` its rendition alone. ``low`` holds low bytes of 16-bit samples."""
    profile = upright.info.get("icc_profile") or None
    if upright.mode == "LAB":
        upright, profile = lab_to_srgb(upright), None
    if upright.mode.startswith("I") or upright.mode == "F":
        samples = _deep_grey(upright)
        shown, alpha = samples.colours(), None
    else:
        upright = _guarded(name, lambda: _channels(upright))
        *_, alpha = upright.split() if upright.mode in ("LA", "RGBA") else (None,)
        shown = upright if alpha is None else upright.convert(upright.mode[:-1])
        samples = None
    colour = ColourSpace(shown.mode, profile, name)
    rgb = colour.to_srgb(shown)
    if alpha is not None:
        white = Image.new("RGB", rgb.size, (255, 255, 255))
        rgb = Image.composite(rgb, white, alpha) if alpha.getextrema() != (255, 255) else rgb
    rgb.info.clear()  # a profile or EXIF in there would be written by Pillow, and be untrue
    if info is None:
        return Photo(rgb)
    if samples is None and not (colour.neutral and shown.mode == "RGB" and alpha is None and low is None):
        samples = _samples(upright, low)
    return Photo(rgb, samples, colour, info, name)


def _channels(image: Image.Image) -> Image.Image:
    """8-bit L, LA, RGB, RGBA or CMYK of an image that is not deep."""
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("LA" if transparent else "L")
    if image.mode == "CMYK":
        return image
    return image.convert("RGBA" if transparent else "RGB")


def _samples(image: Image.Image, low: LowBytes | None) -> Samples:
    space: Any = image.mode.removesuffix("A")
    values = np.array(image).reshape(image.height, image.width, -1)
    if low is None:
        return Samples(values, space, alpha=image.mode.endswith("A"))
    return join_bytes(values, low, space)


def _deep_grey(image: Image.Image) -> Samples:
    """Grey of 16 or 32 bits or floats: full scale is the type's, or 1 for floats that stay within it."""
    values = np.array(image)[..., None]
    finite = values[np.isfinite(values)] if image.mode == "F" else values
    top = float(finite.max()) if finite.size else 0.0
    if image.mode == "F":
        white = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0 if top <= 65535.0 else top
        return Samples(values, "L", white=white)
    if image.mode.startswith("I;16"):
        return Samples(values.astype(np.uint16), "L", white=65535.0)
    return Samples(values, "L", white=65535.0 if 255.0 < top <= 65535.0 else max(top, 255.0))
