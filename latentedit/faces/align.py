"""Cutting faces out of photos by a crop template.

Shape legend: ``R`` side of the crop in pixels. Points are ``(x, y)`` in pixel indices of the photo.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from latentedit.errors import FaceError
from latentedit.faces.detect import DetectorName, choose_faces
from latentedit.faces.template import FFHQ, CropTemplate, side_length
from latentedit.images import ImageSource, load_image

_MAX_SUPERSAMPLED = 4096


@dataclass(frozen=True)
class AlignedFace:
    """One face of a photo, cut out by a template, with all that is needed to put an edited crop back.

    ``crop`` is RGB ``R x R``; ``quad`` float64 ``[4,2]`` holds the photo pixels of its corners (top left, bottom left,
    bottom right, top right); ``landmarks`` are ``[68,2]`` in photo pixels; ``photo`` is the whole photo, or None where
    only the crop was kept.
    """

    crop: Image.Image
    quad: np.ndarray
    landmarks: np.ndarray
    template: CropTemplate = FFHQ
    photo: Image.Image | None = field(default=None, repr=False)

    def crop_landmarks(self) -> np.ndarray:
        """The landmarks ``[68,2]`` in pixel indices of the crop."""
        return to_crop(self.landmarks, self.quad, self.crop.width)


def align(photo: Image.Image, landmarks: np.ndarray, template: CropTemplate = FFHQ, size: int = 256) -> AlignedFace:
    """Cut the face with ``landmarks`` [68,2] out of ``photo`` as an RGB crop of ``size`` squared.

    Where the crop is smaller than its part of the photo, the photo is sampled more densely and averaged down; where the
    quad leaves the photo, the photo is reflected, ever more blurred with the distance to its border.

    Raises:
        FaceError: landmarks that give no crop, or a size below 1.
    """
    if size < 1:
        raise FaceError(f"A crop of {size} pixels is none.", "Give a size of at least 1.")
    photo = photo if photo.mode == "RGB" else load_image(photo)
    quad = template.quad(landmarks)
    points = np.asarray(landmarks, dtype=np.float64)
    return AlignedFace(extract(photo, quad, size), quad, points, template, photo)


def align_photo(
    photo: ImageSource,
    template: CropTemplate = FFHQ,
    size: int = 256,
    *,
    face: int | Literal["all"] = 1,
    detector: DetectorName = "auto",
    name: str | None = None,
) -> AlignedFace | list[AlignedFace]:
    """Find and cut out a face of ``photo``: by default the largest, ``face=2`` the next, ``"all"`` a list of them all.

    ``name`` is what errors call the photo; by default its path.

    Raises:
        ImageError: the photo cannot be read.
        FaceError: it shows no face, or fewer than asked for.
    """
    if name is None and isinstance(photo, (str, os.PathLike)):
        name = os.fspath(photo)
    image = load_image(photo)
    found = choose_faces(image, face, detector=detector, name=name)
    aligned = [align(image, one.landmarks, template, size) for one in found]
    return aligned if face == "all" else aligned[0]


def extract(photo: Image.Image, quad: np.ndarray, size: int) -> Image.Image:
    """Resample the square ``quad`` [4,2] of an RGB ``photo`` to ``size`` squared."""
    region, quad = _shrink(*_cut(photo, quad), size)
    factor = max(1, math.ceil(side_length(quad) / size - 0.05))
    factor = min(factor, max(1, _MAX_SUPERSAMPLED // size))
    dense = size * factor
    top_left, bottom_left, top_right = quad[0] + 0.5, quad[1] + 0.5, quad[3] + 0.5  # Pillow counts from pixel corners
    right, down = (top_right - top_left) / dense, (bottom_left - top_left) / dense
    matrix = (right[0], down[0], top_left[0], right[1], down[1], top_left[1])
    channels = []
    for channel in region.split():  # as floats: on bytes Pillow's transform cuts fractions off, which darkens
        sampled = channel.convert("F").transform(
            (dense, dense), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        channels.append(np.asarray(sampled.reduce(factor) if factor > 1 else sampled))
    return Image.fromarray(np.clip(np.stack(channels, axis=-1) + 0.5, 0, 255).astype(np.uint8))


def to_crop(points: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """Photo pixels ``[...,2]`` to pixel indices of the crop of ``quad``."""
    right, down = quad[3] - quad[0], quad[1] - quad[0]
    offset = np.asarray(points, dtype=np.float64) - quad[0]
    axes = np.stack([right / (right @ right), down / (down @ down)], axis=1)
    return offset @ axes * size - 0.5


def to_photo(points: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """Pixel indices ``[...,2]`` of the crop of ``quad`` to photo pixels; the inverse of :func:`to_crop`."""
    share = (np.asarray(points, dtype=np.float64) + 0.5) / size
    return quad[0] + share @ np.stack([quad[3] - quad[0], quad[1] - quad[0]])


def _cut(photo: Image.Image, quad: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The part of the photo around the quad, reflected and blurred where the quad leaves the photo."""
    margin = 4
    low = np.floor(quad.min(0)).astype(int) - margin
    high = np.ceil(quad.max(0)).astype(int) + margin + 1
    inner_low = np.clip(low, 0, [photo.width - 1, photo.height - 1])
    inner_high = np.maximum(np.clip(high, 1, photo.size), inner_low + 1)
    pad_low, pad_high = np.abs(inner_low - low), np.abs(high - inner_high)
    if not (pad_low.any() or pad_high.any()):
        return photo.crop((*low.tolist(), *high.tolist())), quad - low
    array = np.asarray(photo.crop((*inner_low.tolist(), *inner_high.tolist())))
    pads = ((pad_low[1], pad_high[1]), (pad_low[0], pad_high[0]))
    padded = np.pad(array, (*pads, (0, 0)), mode="symmetric")
    depth = _depth(padded.shape[:2], pads)
    side = side_length(quad)
    if depth.max() <= 0.01 * side:
        return Image.fromarray(padded), quad - low
    return _blur_outside(padded, depth, side), quad - low


def _depth(shape: tuple[int, int], pads: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """Distance in pixels from every padded pixel to the photo, 0 inside."""
    distances = []
    for length, (before, after) in zip(shape, pads, strict=True):
        index = np.arange(length, dtype=np.float32)
        distances.append(np.maximum(np.maximum(before - index, index - (length - 1 - after)), 0))
    return np.hypot(distances[0][:, None], distances[1][None, :])


def _blur_outside(padded: np.ndarray, depth: np.ndarray, side: float) -> Image.Image:
    """Blend from the sharp reflection at the border to a blurred one a tenth of the quad's side away from it."""
    image = Image.fromarray(padded)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.02 * side)), dtype=np.float32)
    softer = np.asarray(image.filter(ImageFilter.GaussianBlur(0.08 * side)), dtype=np.float32)
    near = np.clip(depth / (0.1 * side), 0, 1)[..., None]
    far = np.clip((depth - 0.1 * side) / (0.4 * side), 0, 1)[..., None]
    blurred = soft + (softer - soft) * far
    mixed = padded + (blurred - padded) * near
    return Image.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))


def _shrink(region: Image.Image, quad: np.ndarray, size: int) -> tuple[Image.Image, np.ndarray]:
    """Average whole pixels where the region is far larger than the densest sampling of the crop."""
    factor = int(side_length(quad) / max(_MAX_SUPERSAMPLED, size))
    if factor < 2:
        return region, quad
    return region.reduce(factor), (quad + 0.5) / factor - 0.5
