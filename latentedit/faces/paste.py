"""Putting an edited crop back into its photo.

Shape legend: ``R`` side of the crop. Weights are in [0,1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from latentedit.errors import FaceError
from latentedit.faces.align import AlignedFace, extract, to_crop
from latentedit.faces.template import side_length
from latentedit.images import load_image, to_uint8

if TYPE_CHECKING:
    import torch

_STALE_AT = 24.0  # levels of change (of 255) at which most of the photo's fine detail is given up
_LIGHT = 32.0  # levels by which light or complexion may change and spare it


def paste_back(
    aligned: AlignedFace,
    edited: Image.Image | torch.Tensor,
    *,
    feather: float = 0.12,
    match_color: bool = True,
    keep_detail: bool = True,
    photo: Image.Image | None = None,
) -> Image.Image:
    """The photo with ``edited`` in the place of its aligned crop, at the photo's own resolution.

    What is added to the photo is ``weight * warp(edited - crop)``, so an unedited crop changes nothing. The weight is 1
    in the middle and falls smoothly to 0 over the outer ``feather`` of the crop, along a rounded square. Pixels of
    weight 0, all those outside the quad among them, keep their bits.

    Args:
        aligned: the crop with its quad and photo.
        edited: square RGB of any size, or a tensor ``[3,R,R]`` or ``[1,3,R,R]`` in [-1,1].
        feather: width of the blend as a share of the crop's side, above 0 and up to 0.5.
        match_color: shift the colours of ``edited`` so that its rim agrees with the photo.
        keep_detail: keep the photo's detail that is finer than the pixels of ``edited`` wherever the edit changes
            little; without it, and wherever the edit changes much, the face is as sharp as ``edited`` is.
        photo: paste into this photo instead, for example one into which another face was pasted before.

    Returns:
        A new RGB image of the photo's size.

    Raises:
        FaceError: no photo to paste into, one of another size, an ``edited`` that is not square, or a ``feather`` out
            of range.
    """
    target = photo if photo is not None else aligned.photo
    if target is None:
        raise FaceError("This face was kept without its photo.", "Give photo=, the picture that it was cut from.")
    if aligned.photo is not None and target.size != aligned.photo.size:
        raise FaceError(
            f"A photo of {target.width}x{target.height} is not the one of "
            f"{aligned.photo.width}x{aligned.photo.height} that was cropped.",
            "Give a version of that photo in the same size.",
        )
    if not 0 < feather <= 0.5:
        raise FaceError(f"feather={feather} is out of range.", "Give a share above 0 and up to 0.5.")
    new = _as_array(edited)
    base = target if target.mode == "RGB" else load_image(target)
    old = np.asarray(extract(base, aligned.quad, len(new)), dtype=np.float32)
    change = new - old
    if match_color:
        change -= _rim_offset(change, feather)
    return _add(base, aligned.quad, old, change, feather, keep_detail)


def blend_weight(points: np.ndarray, feather: float) -> np.ndarray:
    """Weight in [0,1] at ``points`` ``[...,2]``, given as shares of the crop's side from its top left corner.

    The contours are the rounded squares ``|x|^4 + |y|^4 = const``; the profile is the smoothstep ``3t^2 - 2t^3``.
    """
    x, y = np.abs(2 * points[..., 0] - 1), np.abs(2 * points[..., 1] - 1)
    inside = (1 - (x**4 + y**4) ** 0.25) / 2
    t = np.clip(inside / feather, 0, 1)
    return t * t * (3 - 2 * t)


def _as_array(edited: Image.Image | torch.Tensor) -> np.ndarray:
    if isinstance(edited, Image.Image):
        array = np.asarray(edited.convert("RGB"))
    else:
        (array, *_) = to_uint8(edited)
    if array.shape[0] != array.shape[1]:
        raise FaceError(f"An edited crop of {array.shape[1]}x{array.shape[0]} is not square.", "Give the whole crop.")
    return array.astype(np.float32)


def _grid(size: int) -> np.ndarray:
    """Positions [size,size,2] of a crop's pixels as shares of its side."""
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def _rim_offset(change: np.ndarray, feather: float) -> np.ndarray:
    """Colour [3] by which the edited crop differs from the photo along the blend: the median over the rim."""
    weight = blend_weight(_grid(len(change)), feather)
    rim = change[(weight > 0.05) & (weight < 0.95)]
    return np.median(rim, axis=0) if len(rim) else np.zeros(3, np.float32)


def _add(
    base: Image.Image, quad: np.ndarray, old: np.ndarray, change: np.ndarray, feather: float, keep_detail: bool
) -> Image.Image:
    """Add the warped ``change`` [R,R,3] of the crop ``old`` to the part of ``base`` under the quad."""
    box = _box(quad, base.size)
    result = np.array(base)
    if box is None:
        return base.copy()
    left, top, right, bottom = box
    region = result[top:bottom, left:right]
    columns, rows = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    size = len(change)
    shares = (to_crop(np.stack([columns, rows], axis=-1), quad, size) + 0.5) / size
    weight = blend_weight(shares, feather).astype(np.float32)[..., None]
    added = _warp(change, quad, box)
    if side_length(quad) > size:
        lost = region - _warp(old, quad, box)  # detail that the crop is too small to hold
        stale = _warp(_staleness(change), quad, box) if keep_detail else np.float32(1)
        added -= stale * lost
    blended = np.clip(region + weight * added + 0.5, 0, 255).astype(np.uint8)
    result[top:bottom, left:right] = np.where(weight > 0, blended, region)
    return Image.fromarray(result)


def _box(quad: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The whole pixels of the photo around the quad; None where the quad lies outside of it."""
    low = np.maximum(np.floor(quad.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + 1, size)
    return None if (low >= high).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _staleness(change: np.ndarray) -> np.ndarray:
    """[R,R,1] in [0,1]: how far the photo's fine detail no longer belongs to a crop changed by ``change`` [R,R,3]."""
    # A change of light or complexion moves large areas alike and spares what is fine in them; one of shape does not.
    broad = gaussian_filter(change, (0.1 * len(change), 0.1 * len(change), 0))
    strength = np.maximum(np.abs(change - broad), np.abs(change) - _LIGHT).max(axis=-1)
    soft = gaussian_filter(strength, 0.01 * len(change))
    return (1 - np.exp(-((soft / _STALE_AT) ** 2)))[..., None].astype(np.float32)


def _warp(values: np.ndarray, quad: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Crop values ``[R,R,C]`` resampled at the photo's pixels of ``box`` (left, top, right, bottom): ``[h,w,C]``."""
    left, top, right, bottom = box
    size, side = len(values), side_length(quad)
    if side < 0.95 * size:
        small = max(1, round(side))
        values = np.stack([_resized(channel, small) for channel in np.moveaxis(values, -1, 0)], axis=-1)
        size = small
    margin = 2  # repeated border, as interpolation reads beyond the last pixel
    padded = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    origin, across, down = to_crop(np.array([[left, top], [left + 1, top], [left, top + 1]]) - 0.5, quad, size)
    start, dx, dy = origin + 0.5 + margin, across - origin, down - origin  # Pillow counts from pixel corners
    matrix = (dx[0], dy[0], start[0], dx[1], dy[1], start[1])
    shape = (right - left, bottom - top)
    channels = [
        Image.fromarray(np.ascontiguousarray(channel)).transform(
            shape, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        for channel in np.moveaxis(padded.astype(np.float32), -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _resized(channel: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
