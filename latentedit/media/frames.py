"""What every kind of film and sheet does to its pictures first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from latentedit.errors import OutputError

Frame = Image.Image | np.ndarray


def prepare(frames: Sequence[Frame], size: int | None) -> list[Image.Image]:
    images = [as_image(frame) for frame in frames]
    if not images:
        raise OutputError("There are no frames to write.", "Ask for at least one frame.")
    if any(image.size != images[0].size for image in images):
        sizes = sorted({image.size for image in images})
        raise OutputError(f"Frames of different sizes {sizes} make no film.", "Resize them to one size first.")
    if size is not None and size != images[0].width:
        height = max(1, round(images[0].height * size / images[0].width))
        images = [scale(image, (size, height)) for image in images]
    return images


def as_image(frame: Frame) -> Image.Image:
    image = frame if isinstance(frame, Image.Image) else Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def scale(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Lanczos rings when it enlarges; bicubic keeps skin smooth.
    enlarge = size[0] > image.width
    return image.resize(size, Image.Resampling.BICUBIC if enlarge else Image.Resampling.LANCZOS)
