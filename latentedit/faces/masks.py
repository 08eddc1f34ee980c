"""Face masks drawn on photos by landmarks: for training data, for tests, and for the fun of it.

A mask is drawn flat on a mean face (:mod:`latentedit.faces.mask_art`), bent to the photo's face by a thin-plate spline
between the landmarks, lit as the face is lit, and given the blur and the noise of the photo, so that neither its edges
nor its smoothness give it away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from PIL import Image
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates

from latentedit.errors import FaceError
from latentedit.faces.mask_art import MEAN_FACE, ORIGIN, SPAN, MaskSheet, draw_sheet
from latentedit.faces.mask_styles import Color, MaskKind, MaskStyle, random_style
from latentedit.images import load_image

__all__ = ["DrawnMask", "MaskKind", "MaskStyle", "draw_mask", "random_style"]

_ANCHORS = [*range(17), 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45]  # what speech and smiles move least, and the jaw


@dataclass(frozen=True)
class DrawnMask:
    """The ``photo`` (RGB) with the mask, its ``region`` ("L", coverage 0-255, as large as the photo), the ``style``."""

    photo: Image.Image
    region: Image.Image
    style: MaskStyle


def draw_mask(
    photo: Image.Image,
    landmarks: np.ndarray,
    *,
    kind: MaskKind = "surgical",
    color: Color | None = None,
    under_nose: bool | None = False,
    seed: int = 0,
    style: MaskStyle | None = None,
) -> DrawnMask:
    """Draw a mask on the face with ``landmarks`` [68,2] (pixels of ``photo``).

    Args:
        photo: any size; taken as RGB, never changed.
        kind: "surgical", "cloth" or "respirator"; colours, pattern, shape and fit follow from ``seed``.
        color: sRGB in [0,1] instead of the drawn one.
        under_nose: worn under the nose, or over it; None lets ``seed`` decide.
        seed: the same seed draws the same mask.
        style: everything about the mask, instead of ``kind``, ``color`` and ``under_nose``.

    Raises:
        FaceError: an unknown kind, or landmarks of another shape or that coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise FaceError(f"Landmarks of shape {points.shape} carry no mask.", "Give finite points [68,2].")
    if kind not in get_args(MaskKind):
        raise FaceError(f"There is no mask {kind!r}.", f"Choose one of {', '.join(get_args(MaskKind))}.")
    rng = np.random.RandomState(seed)
    if style is None:
        style = random_style(rng, kind, under_nose=under_nose)
        style = style if color is None else replace(style, color=color, pattern="plain")
    rgb = photo if photo.mode == "RGB" else load_image(photo)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    unit = float(np.hypot(*(right - left)))
    if unit < 2:
        raise FaceError(f"A face with eyes {unit:.1f} pixels apart is too small for a mask.", "Give a larger photo.")
    box = _box(points, unit, rgb.size)
    if box is None:
        return DrawnMask(rgb, Image.new("L", rgb.size), style)
    patch = np.asarray(rgb.crop(box), dtype=np.float32) / 255
    pixels = points - box[:2]
    new, cover = _composite(patch, pixels, unit, style, rng)
    result, region = rgb.copy(), Image.new("L", rgb.size)
    touched = cover > 1 / 512
    original = np.asarray(rgb.crop(box))
    mixed = np.where(touched[..., None], np.clip(new * 255 + 0.5, 0, 255).astype(np.uint8), original)
    result.paste(Image.fromarray(mixed), box[:2])
    region.paste(Image.fromarray(np.clip(cover * 255 + 0.5, 0, 255).astype(np.uint8)), box[:2])
    return DrawnMask(result, region, style)


def _box(points: np.ndarray, unit: float, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of the photo that the mask and its shadow can reach."""
    low = np.maximum(np.floor(points.min(0) - 0.35 * unit).astype(int), 0)
    high = np.minimum(np.ceil(points.max(0) + 0.5 * unit).astype(int) + 1, size)
    if (high - low < 4).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _composite(
    patch: np.ndarray, points: np.ndarray, unit: float, style: MaskStyle, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """The patch [h,w,3] with the mask on it, and the share [h,w] of every pixel that was changed."""
    height, width = patch.shape[:2]
    sheet = draw_sheet(style, int(np.clip(round(SPAN * unit * 1.5), 160, 1536)))
    light = _light(patch, points, unit)
    lit = _lit(sheet, light)
    dense = 2 if unit < 200 else 1
    where = _face_coordinates(points, unit, (height, width), dense)
    layers = np.concatenate([lit, sheet.cover[..., None]], axis=-1)
    warped = _sample(layers, where)
    if dense > 1:
        warped = warped.reshape(height, dense, width, dense, 4).mean((1, 3))
    sharpness = blur_of(patch)
    cover = gaussian_filter(warped[..., 3], sharpness)
    color = gaussian_filter(warped[..., :3] * warped[..., 3:], (sharpness, sharpness, 0))
    color = color / np.maximum(cover, 1e-4)[..., None]
    color = color + _noise(patch, rng)
    shadow = _shadow(warped[..., 3], light, unit)
    behind = patch * (1 - shadow)[..., None]
    mixed = behind + (color - behind) * cover[..., None]
    return mixed, np.maximum(cover, shadow)


@dataclass(frozen=True)
class _Light:
    """``direction`` [3] in face coordinates (x right, y down, z to the viewer); ``tint`` [3] of the light; how much
    ``chroma`` the photo has (0 grey, 1 full); its ``black`` and ``white`` levels in [0,1]; the sine of the ``yaw``."""

    direction: np.ndarray
    tint: np.ndarray
    chroma: float
    black: float
    white: float
    yaw: float


def _light(patch: np.ndarray, points: np.ndarray, unit: float) -> _Light:
    """How the face is lit, from the slope of its brightness and from the levels of the photo."""
    luma = patch @ np.array([0.299, 0.587, 0.114], np.float32)
    skin = np.concatenate([(points[1:16] * 0.35 + points[[30]] * 0.65), points[27:31], points[[17, 19, 24, 26]]])
    index = np.clip(np.round(skin).astype(int), 0, [patch.shape[1] - 1, patch.shape[0] - 1])
    soft = gaussian_filter(luma, 0.08 * unit)
    values = soft[index[:, 1], index[:, 0]]
    across = (points[42:48].mean(0) - points[36:42].mean(0)) / unit
    down = np.array([-across[1], across[0]])
    centred = (skin - skin.mean(0)) / unit
    axes = np.stack([centred @ across, centred @ down, np.ones(len(skin))], axis=1)
    slope = np.linalg.lstsq(axes, values, rcond=None)[0]
    gain = 1.6 / max(float(values.mean()), 0.12)
    direction = np.array([np.clip(slope[0] * gain, -0.8, 0.8), np.clip(-0.35 + slope[1] * gain, -0.9, 0.3), 1.0])
    low, high = np.percentile(luma, [1, 98])
    bright = float(np.percentile(values, 80))
    white = float(np.clip(0.5 * high + 0.5 * (0.42 + 0.80 * bright), 0.35, 1.0))
    mean = patch.reshape(-1, 3).mean(0)
    grey = float(mean.mean()) + 1e-3
    chroma = np.abs(patch - patch.mean(-1, keepdims=True)).mean()
    nose = (points[30] - (points[36] + points[45]) / 2) @ across / unit
    return _Light(
        direction=direction / np.linalg.norm(direction),
        tint=1 + 0.16 * (mean / grey - 1),
        chroma=float(np.clip(chroma / 0.03, 0, 1)),
        black=float(min(low, 0.2)),
        white=white,
        yaw=float(np.clip(nose, -0.6, 0.6)),
    )


def _lit(sheet: MaskSheet, light: _Light) -> np.ndarray:
    """Colours of the sheet [T,T,3] under ``light``: Lambert's law on the normals of the cloth, plus ambient light."""
    step = SPAN / len(sheet.height)
    gy, gx = np.gradient(sheet.height, step)
    normal = np.stack([-gx, -gy, np.ones_like(gx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    c, s = np.sqrt(1 - light.yaw**2), light.yaw  # the head turns, the light does not
    turned = np.stack(
        [c * normal[..., 0] + s * normal[..., 2], normal[..., 1], c * normal[..., 2] - s * normal[..., 0]], -1
    )
    direct = np.clip(turned @ light.direction, 0, None)
    shade = (0.36 + 0.70 * direct) * sheet.crease
    sheen = 0.016 * np.clip(direct, 0, 1) ** 6 + 0.004  # dark cloth still shows its folds
    linear = (sheet.color**2.2 + sheen[..., None]) * shade[..., None] ** 1.6
    color = np.clip(linear, 0, 1) ** (1 / 2.2) * light.tint
    grey = color.mean(-1, keepdims=True)
    color = grey + (color - grey) * light.chroma
    return (light.black + (light.white - light.black) * color).astype(np.float32)


def _face_coordinates(points: np.ndarray, unit: float, shape: tuple[int, int], dense: int) -> np.ndarray:
    """Sheet pixels per unit span [2,h*dense,w*dense] (rows, columns as shares of the sheet) of the patch's pixels."""
    source, target = points[_ANCHORS] / unit, MEAN_FACE[_ANCHORS]
    spline = RBFInterpolator(source, target, kernel="thin_plate_spline", smoothing=2e-3)
    height, width = shape
    rows, columns = min(40, height), min(40, width)
    ys, xs = np.linspace(-0.5, height - 0.5, rows), np.linspace(-0.5, width - 0.5, columns)
    coarse = spline(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2) / unit).reshape(rows, columns, 2)
    coarse = (coarse - ORIGIN) / SPAN
    y = (np.arange(height * dense) + 0.5) / (height * dense) * (rows - 1)
    x = (np.arange(width * dense) + 0.5) / (width * dense) * (columns - 1)
    where = np.stack(np.meshgrid(y, x, indexing="ij"))
    return np.stack([map_coordinates(coarse[..., axis], where, order=1) for axis in (1, 0)])


def _sample(layers: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Layers [T,T,C] at ``where`` (shares of the sheet): ``[h,w,C]``; nothing beyond the sheet."""
    pixels = where * len(layers) - 0.5
    return np.stack([map_coordinates(layers[..., c], pixels, order=1) for c in range(layers.shape[-1])], axis=-1)


def _shadow(cover: np.ndarray, light: _Light, unit: float) -> np.ndarray:
    """The soft shadow of the mask on the skin beside it, away from the light."""
    near = gaussian_filter(cover, 0.035 * unit)
    away = shifted(cover, round(-0.04 * unit * light.direction[1]), round(-0.04 * unit * light.direction[0]))
    return np.clip(0.20 * near + 0.16 * gaussian_filter(away, 0.05 * unit), 0, 0.4)


def shifted(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """``values`` [h,w] moved by whole pixels; zeros come in, and what leaves does not come back on the other side."""
    height, width = values.shape
    result = np.zeros_like(values)
    if abs(down) < height and abs(right) < width:
        source = values[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
        result[max(0, down) :, max(0, right) :][: source.shape[0], : source.shape[1]] = source
    return result


def blur_of(patch: np.ndarray) -> float:
    """Sigma in pixels with which a mask must be blurred to look as sharp as ``patch`` [h,w,3].

    The photo's own blur follows from how much its sharpest edges lose when it is blurred once more (Zhuo and Sim 2011,
    Pattern Recognition 44); a mask's hem is sharper than the edges of a face, so less than all of it is used.
    """
    luma = patch.mean(-1)
    known = 1.0
    before = _slope(gaussian_filter(luma, 0.3))
    after = _slope(gaussian_filter(luma, known))
    strong = before > np.percentile(before, 97)
    ratio = float(np.median(before[strong] / np.maximum(after[strong], 1e-5))) if strong.any() else 1.5
    return float(np.clip(known / np.sqrt(max(ratio, 1.02) ** 2 - 1), 0.35, 4.0)) * 0.7


def _slope(luma: np.ndarray) -> np.ndarray:
    down, across = np.gradient(luma)
    return np.hypot(down, across)


def _noise(patch: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Grain like the photo's: its level by the median of second differences, which edges hardly move."""
    luma = patch.mean(-1)
    second = luma[1:-1, 1:-1] * 2 - luma[1:-1, :-2] - luma[1:-1, 2:]
    sigma = float(np.clip(np.median(np.abs(second)) / 0.6745 / np.sqrt(6), 0, 0.04))
    fine = rng.randn(*patch.shape[:2], 1) + 0.3 * rng.randn(*patch.shape)
    return (sigma * fine).astype(np.float32)
