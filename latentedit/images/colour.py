"""Colour profiles: from a photo's own space to sRGB and back.

Images are 8-bit PIL images of mode ``L``, ``RGB`` or ``CMYK`` in the photo's space, and ``RGB`` in sRGB.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # the signature in bytes 16 to 20 of a profile's header


class ColourSpace:
    """How the samples of ``mode`` ("L", "RGB", "CMYK") are to be understood: by a ``profile`` that fits them, or as
    sRGB (and its greys, and its plain complement) where there is none.

    ``profile`` is None where it was none, does not change a value, or cannot be used; the last is warned of.
    """

    def __init__(self, mode: str, profile: bytes | None, name: str = "The photo") -> None:
        self.mode = mode
        self.embedded = profile  # what goes back into the file
        self._input = mode
        self._to: Any = None
        self._from: Any = None
        if not profile:
            self.embedded = None
            return
        try:
            self._build(profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            self._to, self.embedded = None, None
            reason = str(error).rstrip(".") or type(error).__name__
            warnings.warn(
                f"The colour profile of {name} cannot be used ({reason}); its colours are taken for sRGB.", stacklevel=2
            )

    def _build(self, data: bytes) -> None:
        space = _SPACES.get(data[16:20].decode("latin-1"))
        if space is None:
            raise ValueError("it is no grey, RGB or CMYK profile" if len(data) >= 128 else "it is damaged")
        # A grey picture with an RGB profile is common, and means equal channels; nothing else that differs has a sense.
        if space != self.mode and not (self.mode == "L" and space == "RGB"):
            raise ValueError(f"it is for {space}, and the picture is {self.mode}")
        self._input = space
        own: Any = ImageCms.ImageCmsProfile(io.BytesIO(data))
        srgb: Any = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(own, srgb, space, "RGB")
        if _changes_nothing(transform, space):
            return
        self._to = transform
        try:
            self._from = ImageCms.buildTransform(srgb, own, "RGB", space)
        except ImageCms.PyCMSError:  # some scanners' profiles lead one way only
            self._from = None

    @property
    def neutral(self) -> bool:
        """Whether the samples are sRGB, its greys or its plain complement as they are."""
        return self._to is None and self.mode != "CMYK"

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """``image`` of this space as sRGB."""
        if self._to is None:
            return image.convert("RGB")
        return _apply(self._to, image.convert(self._input))

    def from_srgb(self, image: Image.Image) -> Image.Image:
        """An sRGB ``image`` in this space."""
        if self._from is None:
            return image.convert(self.mode)
        return _apply(self._from, image).convert(self.mode)


def _apply(transform: Any, image: Image.Image) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    return result


def _changes_nothing(transform: Any, mode: str) -> bool:
    """Whether no colour of a cube and of all greys moves by more than one level: the profile is sRGB by any name."""
    if mode == "CMYK":
        return False
    grey = np.arange(256, dtype=np.uint8)
    if mode == "L":
        image, expected = Image.fromarray(grey[None]), np.repeat(grey[:, None], 3, axis=1)
    else:
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
        expected = np.concatenate([cube, np.repeat(grey[:, None], 3, axis=1)])
        image = Image.fromarray(expected[None])
    shown = np.asarray(_apply(transform, image))[0].astype(int)
    return bool(np.abs(shown - expected).max() <= 1)


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """A ``LAB`` image (TIFF knows it) as sRGB."""
    lab: Any = ImageCms.createProfile("LAB")
    srgb: Any = ImageCms.createProfile("sRGB")
    return _apply(ImageCms.buildTransform(lab, srgb, "LAB", "RGB"), image)
