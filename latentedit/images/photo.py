"""`Photo`: the rendition that everything works on, and what else the file carried.

Legend: ``H`` x ``W`` pixels, ``C`` channels. Renditions are RGB images, 8-bit sRGB, upright, transparency over white.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageChops

from latentedit.errors import ImageError
from latentedit.images.colour import ColourSpace

Space = Literal["L", "RGB", "CMYK"]

_BAND = 512
_ROUNDS = 4


@dataclass(frozen=True)
class Samples:
    """A photo's own samples ``values`` [H,W,C], upright: the channels of ``space``, then ``alpha`` if there is one.

    ``white`` is full scale: 255 for uint8, 65535 for uint16, and what was found for 32-bit and floating-point grey.
    """

    values: np.ndarray
    space: Space
    alpha: bool = False
    white: float = 255.0

    @property
    def deep(self) -> bool:
        """Whether a sample has more than 8 bits."""
        return self.values.dtype != np.uint8

    def colours(self) -> Image.Image:
        """The channels of ``space`` as an 8-bit image."""
        return as_image(to_8_bits(self.values[..., : len(self.space)], self.white), self.space)

    def opacity(self) -> np.ndarray:
        """Alpha [H,W,1] in [0,1]; ones where there is none."""
        if not self.alpha:
            return np.ones((*self.values.shape[:2], 1), np.float32)
        return self.values[..., -1:].astype(np.float32) / np.float32(self.white)


@dataclass(frozen=True)
class PhotoInfo:
    """What a file says beside its pixels: ``exif`` (upright, without the old thumbnail), ``xmp``, and the resolution
    ``dpi`` (across, down) in pixels an inch."""

    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo.

    ``rgb`` is the rendition; ``samples`` are the photo's own, None where the rendition is all there is to it (8-bit
    sRGB without transparency); ``colour`` is how they are to be understood; ``name`` is what messages call it, ``path``
    the file that it was read from.
    """

    rgb: Image.Image
    samples: Samples | None = None
    colour: ColourSpace = field(default_factory=lambda: ColourSpace("RGB", None), repr=False)
    info: PhotoInfo = PhotoInfo()
    name: str = "The photo"
    path: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.size

    def with_rgb(self, rgb: Image.Image) -> Photo:
        """The same photo showing the rendition ``rgb``: where that differs, its own samples move by as much.

        What the rendition cannot hold - colours beyond sRGB, finer levels, transparency - stays, and samples where
        nothing differs keep their bits.

        Raises:
            ImageError: a rendition of another size.
        """
        if rgb.size != self.size:
            raise ImageError(
                f"A picture of {rgb.width} x {rgb.height} pixels is no new version of a photo of "
                f"{self.rgb.width} x {self.rgb.height}.",
                "Give one of the photo's size.",
            )
        rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
        box = changed_box(self.rgb, rgb)
        if self.samples is None or box is None:
            return replace(self, rgb=rgb)
        values = self.samples.values.copy()
        left, top, right, bottom = box
        part = replace(self.samples, values=values[top:bottom, left:right])
        part.values[...] = _moved(part, self.colour, self.rgb.crop(box), rgb.crop(box))
        return replace(self, rgb=rgb, samples=replace(self.samples, values=values))


def changed_box(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    """The smallest box around all pixels in which two RGB images of one size differ; None where they are equal."""
    boxes = []
    for top in range(0, before.height, _BAND):  # in bands, for a photo may be as large as memory
        strip = (0, top, before.width, min(top + _BAND, before.height))
        found = ImageChops.difference(before.crop(strip), after.crop(strip)).getbbox()
        if found is not None:
            boxes.append((found[0], found[1] + top, found[2], found[3] + top))
    if not boxes:
        return None
    return min(b[0] for b in boxes), boxes[0][1], max(b[2] for b in boxes), boxes[-1][3]


def _moved(own: Samples, colour: ColourSpace, before: Image.Image, after: Image.Image) -> np.ndarray:
    """The samples of ``own`` [h,w,C] moved as the rendition moved from ``before`` to ``after``."""
    shown, opacity = np.asarray(colour.to_srgb(own.colours())).astype(np.float32), own.opacity()
    change = np.asarray(after).astype(np.float32) - np.asarray(before)
    differ = (change != 0).any(axis=-1, keepdims=True) & (opacity > 0)
    wanted = np.clip(shown + change / np.maximum(opacity, 1 / 255), 0, 255)  # the rendition is laid over white
    base, aim, moved = _in_space(shown, colour), wanted, own
    for _ in range(_ROUNDS if own.space == "CMYK" else 1):  # black ink makes the others count less
        moved = _shifted(own, _in_space(aim, colour) - base, differ)
        reached = np.asarray(colour.to_srgb(moved.colours()))
        aim = np.clip(aim + wanted - reached, 0, 255)
    return moved.values


def _in_space(pixels: np.ndarray, colour: ColourSpace) -> np.ndarray:
    """sRGB [h,w,3] as samples of the space, of 255."""
    values = np.asarray(colour.from_srgb(as_image(to_8_bits(pixels, 255.0), "RGB")))
    return values.astype(np.float64).reshape(*pixels.shape[:2], -1)


def _shifted(own: Samples, change: np.ndarray, where: np.ndarray) -> Samples:
    """``own`` with ``change`` [h,w,C] (of 255) added to its colours in the places ``where`` [h,w,1]."""
    count, values = change.shape[-1], own.values.copy()
    moved = values[..., :count] + change * (own.white / 255)
    if np.issubdtype(values.dtype, np.integer):
        moved = np.clip(np.floor(moved + 0.5), 0, own.white)
    np.copyto(values[..., :count], moved.astype(values.dtype), where=where)
    return replace(own, values=values)


def to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Samples with full scale ``white`` as uint8; those beyond it are clamped, those that are no number are black."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)  # as Pillow shows them
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(finite / white * 255.0 + 0.5, 0, 255).astype(np.uint8)


def as_image(values: np.ndarray, mode: str) -> Image.Image:
    """uint8 [H,W,C] (C = 1 for ``L``) as an image of ``mode``."""
    height, width = values.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(values).tobytes())
