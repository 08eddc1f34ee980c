"""The drawings behind :mod:`latentedit.faces.masks`: masks flat on a frontal mean face, as colour, cover and height.

Face coordinates: the origin is midway between the eyes, ``x`` runs to the right and ``y`` down in the picture, and the
unit is the distance between the centres of the eyes. A sheet is a square picture of ``SPAN`` units that starts at
``ORIGIN``; ``T`` is its side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, gaussian_filter

from latentedit.faces.mask_styles import MaskStyle, from_hsv

SPAN = 2.66
ORIGIN = (-1.33, -0.42)

MEAN_FACE = np.array([
    [-1.117, 0.013], [-1.100, 0.306], [-1.064, 0.595], [-1.015, 0.881], [-0.917, 1.148], [-0.752, 1.382],
    [-0.537, 1.572], [-0.287, 1.718], [0.000, 1.758], [0.287, 1.718], [0.537, 1.572], [0.752, 1.382],
    [0.917, 1.148], [1.015, 0.881], [1.064, 0.595], [1.100, 0.306], [1.117, 0.013], [-0.924, -0.192],
    [-0.783, -0.320], [-0.586, -0.358], [-0.383, -0.332], [-0.191, -0.257], [0.191, -0.257], [0.383, -0.332],
    [0.586, -0.358], [0.783, -0.320], [0.924, -0.192], [0.000, -0.034], [0.000, 0.154], [0.000, 0.341],
    [0.000, 0.533], [-0.223, 0.658], [-0.115, 0.694], [0.000, 0.727], [0.115, 0.694], [0.223, 0.658],
    [-0.692, 0.002], [-0.570, -0.067], [-0.425, -0.064], [-0.300, 0.028], [-0.435, 0.051], [-0.578, 0.050],
    [0.300, 0.028], [0.425, -0.064], [0.570, -0.067], [0.692, 0.002], [0.578, 0.050], [0.435, 0.051],
])  # fmt: skip
"""Points 0-47 (jaw, brows, nose, eyes) of the mean of 9,184 frontal faces, made symmetric."""

# Half outlines for x >= 0: the top edge from the middle outwards, then the lower edge from the side to the middle.
_OUTLINES: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {
    "surgical": (
        [(0.0, 0.16), (0.13, 0.19), (0.30, 0.31), (0.60, 0.41), (0.98, 0.45)],
        [(0.90, 1.28), (0.66, 1.60), (0.36, 1.81), (0.0, 1.87)],
    ),
    "cloth": (
        [(0.0, 0.13), (0.12, 0.17), (0.30, 0.34), (0.62, 0.47), (0.99, 0.52)],
        [(0.94, 1.10), (0.72, 1.52), (0.38, 1.83), (0.0, 1.92)],
    ),
    "fold": (
        [(0.0, 0.06), (0.09, 0.13), (0.27, 0.34), (0.60, 0.52), (0.96, 0.64)],
        [(0.92, 1.02), (0.62, 1.50), (0.30, 1.82), (0.0, 1.95)],
    ),
    "cup": (
        [(0.0, 0.10), (0.18, 0.16), (0.40, 0.36), (0.62, 0.62), (0.74, 0.90)],
        [(0.74, 1.00), (0.67, 1.40), (0.40, 1.74), (0.0, 1.86)],
    ),
}


@dataclass(frozen=True)
class MaskSheet:
    """A mask in face coordinates: ``color`` [T,T,3] and ``cover`` [T,T] in [0,1], ``height`` [T,T] towards the viewer
    in units of the face, and ``crease`` [T,T], the factor by which folds and edges darken."""

    color: np.ndarray
    cover: np.ndarray
    height: np.ndarray
    crease: np.ndarray


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Face coordinates ``x``, ``y`` [T,T] of a sheet's pixels."""
    steps = (np.arange(size) + 0.5) / size * SPAN
    x, y = np.meshgrid(steps + ORIGIN[0], steps + ORIGIN[1])
    return x.astype(np.float32), y.astype(np.float32)


def draw_sheet(style: MaskStyle, size: int) -> MaskSheet:
    """The mask of ``style`` on the mean face, ``size`` pixels square."""
    rng = np.random.RandomState(style.seed)
    x, y = grid(size)
    outline = _outline(style, rng)
    body = _polygon(outline, size)
    unit = size / SPAN
    depth = np.asarray(distance_transform_edt(body > 0.5)) / unit
    u, v = _own_coordinates(style, x, y)
    color = _paint(style, rng, u, v)
    height = _drape(style, u, v) + _wrinkles(style, rng, size, depth)
    crease = np.ones_like(x)
    if style.form == "surgical":
        crease, height = _pleats(style, v, u, crease, height)
    if style.form in ("surgical", "cloth"):
        color, crease = _hem(style, depth, color, crease)
    if style.form == "cloth":
        crease = crease * (1 - 0.22 * np.exp(-((u / 0.008) ** 2)))
    if style.form in ("fold", "cup"):
        color, crease, height = _respirator_parts(style, u, v, depth, color, crease, height)
    rim = 1 - 0.22 * np.exp(-depth / 0.02)  # edges turn away from the light
    cover, color, crease = _with_straps(style, outline, size, body, color, crease * rim)
    return MaskSheet(color.astype(np.float32), cover, height.astype(np.float32), crease.astype(np.float32))


def _own_coordinates(style: MaskStyle, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Face coordinates in the frame of a mask that is slanted, narrower, or dropped."""
    c, s = np.cos(style.slant), np.sin(style.slant)
    u, v = c * x + s * (y - 1.0), -s * x + c * (y - 1.0) + 1.0
    return u / style.width, _raise(style, v)


_BOTTOM = 1.9


def _lower(style: MaskStyle, y: np.ndarray) -> np.ndarray:
    """Where a point of the outline at height ``y`` goes when the mask is dropped: the chin holds its lower edge."""
    share = 1 - 0.30 * style.drop
    return _BOTTOM - (_BOTTOM - y) * share * style.height


def _raise(style: MaskStyle, y: np.ndarray) -> np.ndarray:
    return _BOTTOM - (_BOTTOM - y) / ((1 - 0.30 * style.drop) * style.height)


def _outline(style: MaskStyle, rng: np.random.RandomState) -> np.ndarray:
    """The closed outline [P,2] in face coordinates, clockwise from the upper left corner."""
    top, low = (np.array(points) for points in _OUTLINES[style.form])
    top, low = _jitter(top, rng), _jitter(low, rng)
    if style.drop > 0.5:  # under the nose there is no bridge to climb
        top[:, 1] = np.maximum(top[:, 1], 0.3 * top[:, 1] + 0.7 * top[-1, 1] - 0.07)
    upper = _smooth(np.concatenate([top[:0:-1] * [-1, 1], top]))
    lower = _smooth(np.concatenate([low, low[-2::-1] * [-1, 1]]))
    outline = np.concatenate([upper, lower])
    outline[:, 0] *= style.width
    outline[:, 1] = _lower(style, outline[:, 1])
    c, s = np.cos(style.slant), np.sin(style.slant)
    return (outline - [0, 1.0]) @ np.array([[c, s], [-s, c]]) + [0, 1.0]


def _jitter(points: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    noise = rng.uniform(-0.025, 0.025, points.shape)
    noise[points[:, 0] == 0, 0] = 0
    return points + noise


def _smooth(points: np.ndarray, count: int = 60) -> np.ndarray:
    t = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    return CubicSpline(t, points)(np.linspace(0, t[-1], count))


def _to_pixels(points: np.ndarray, size: int) -> list[tuple[float, float]]:
    return [(float(px), float(py)) for px, py in (points - ORIGIN) / SPAN * size]


def _polygon(points: np.ndarray, size: int) -> np.ndarray:
    factor = 3
    image = Image.new("L", (size * factor, size * factor))
    ImageDraw.Draw(image).polygon(_to_pixels(points, size * factor), fill=255)
    return np.asarray(image.reduce(factor), dtype=np.float32) / 255


def _drape(style: MaskStyle, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Height of cloth stretched over cheeks, nose and chin, in units of the face."""
    face = 0.75 * (1 - np.clip(np.abs(u) / 1.25, 0, 1) ** 2.2) - 0.55 * np.clip(v - 1.25, 0, None) ** 2
    rise = np.interp(v, [0.0, 0.55, 0.75, 1.25, 1.7, 1.95], [0.04, 0.34, 0.34, 0.20, 0.12, 0.0])
    spread = np.interp(v, [0.0, 0.55, 0.9, 1.4, 1.95], [0.14, 0.26, 0.40, 0.46, 0.5])
    if style.form == "fold":
        return face * 0.8 + (rise + 0.18) * np.clip(1 - np.sqrt((u / 0.85) ** 2 + 0.0012), 0, None)
    if style.form == "cup":
        return 0.85 * np.sqrt(np.clip(1.02 - (u / 0.8) ** 2 - ((v - 1.0) / 0.95) ** 2, 0.02, None))
    return face + rise * np.exp(-((u / spread) ** 2))


def _wrinkles(style: MaskStyle, rng: np.random.RandomState, size: int, depth: np.ndarray) -> np.ndarray:
    """Gentle dents, and folds that run across, deeper towards the edges."""
    unit = size / SPAN
    broad = gaussian_filter(rng.randn(size, size), 0.10 * unit)
    folds = gaussian_filter(rng.randn(size, size), (0.03 * unit, 0.16 * unit))
    broad, folds = broad / broad.std(), folds / folds.std()
    stiff = 0.35 if style.form in ("fold", "cup") else 1.0
    near_edge = 0.4 + 0.6 * np.exp(-depth / 0.25)
    return stiff * style.wrinkles * (0.010 * broad + 0.0045 * folds * near_edge)


def _pleats(
    style: MaskStyle, v: np.ndarray, u: np.ndarray, crease: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The folds of a surgical mask: each throws a thin shadow and lifts the cloth above it."""
    for level in np.linspace(0.68, 1.38, style.pleats):
        distance = v - (level + 0.05 * np.cos(u * 1.6) - 0.05)
        crease = crease * (1 - 0.20 * np.exp(-((distance / 0.014) ** 2)))
        height = height + 0.020 * np.exp(-np.clip(-distance, 0, None) / 0.07) * (distance < 0)
    return crease, height


def _hem(style: MaskStyle, depth: np.ndarray, color: np.ndarray, crease: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The seam along the edge; a surgical mask's is paler."""
    width = 0.05 if style.form == "surgical" else 0.035
    seam = np.exp(-(((depth - width) / 0.009) ** 2))
    if style.form == "surgical":
        inside = np.clip((width - depth) / 0.01, 0, 1)[..., None] * 0.35
        color = color + (0.5 * color + 0.5 * np.array(style.strap) - color) * inside
    return color, crease * (1 - 0.16 * seam)


def _respirator_parts(
    style: MaskStyle,
    u: np.ndarray,
    v: np.ndarray,
    depth: np.ndarray,
    color: np.ndarray,
    crease: np.ndarray,
    height: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Welds, the nose clip, the valve."""
    welds = np.exp(-(((depth - 0.055) / 0.008) ** 2)) * (np.sin(40 * u + 40 * v) > -0.3)
    if style.form == "fold":
        welds = np.maximum(welds, np.exp(-(((v - 0.85 - 0.10 * np.abs(u)) / 0.008) ** 2)) * (np.abs(u) > 0.1) * 0.6)
    crease = crease * (1 - 0.13 * welds)
    clip = np.exp(-(((depth - 0.10) / 0.028) ** 4)) * np.clip((0.36 - np.abs(u)) / 0.03, 0, 1) * (v < 0.5)
    height = height + 0.012 * clip
    if style.form == "cup" or style.seed % 3 == 0:
        color = color + (np.array([0.68, 0.69, 0.70]) - color) * (0.6 * clip)[..., None]
    if style.valve:
        side = 0.30 if style.form == "fold" else 0.0
        radius = np.hypot(u - side, v - 1.12)
        disc = np.clip((0.17 - radius) / 0.012, 0, 1)
        color = color + (np.array(style.accent) - color) * disc[..., None]
        slots = (np.sin((v - 1.12) * 90) > 0.2) & (radius < 0.12)
        crease = crease * (1 - 0.25 * np.exp(-(((radius - 0.17) / 0.012) ** 2))) * np.where(slots, 0.86, 1.0)
        height = height + 0.05 * np.clip((0.18 - radius) / 0.03, 0, 1)
    return color, crease, height


def _with_straps(
    style: MaskStyle, outline: np.ndarray, size: int, body: np.ndarray, color: np.ndarray, crease: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loops to the ears, or the head straps of a moulded respirator, that end at the side of the face."""
    if not style.straps:
        return body, color, crease
    factor = 3
    image = Image.new("L", (size * factor, size * factor))
    brush = ImageDraw.Draw(image)
    width = max(1, round((0.030 if style.form != "surgical" else 0.022) * size * factor / SPAN))
    corners = [outline[0], outline[-1], outline[59], outline[60]]  # upper left, lower left, upper right, lower right
    ends = [(-1.13, 0.10), (-1.12, 0.62)] if style.form != "cup" else [(-1.12, 0.02), (-1.12, 0.70)]
    for corner, end in zip(corners, [*ends, *[(-ex, ey) for ex, ey in ends]], strict=True):
        inner = corner * [0.97, 1.0]
        bend = (inner + end) / 2 + [0, 0.04 * np.sign(end[1] - 0.3)]
        curve = CubicSpline([0, 1, 2], np.array([inner, bend, end]))(np.linspace(0, 2, 16))
        brush.line(_to_pixels(curve, size * factor), fill=255, width=width, joint="curve")
    band = np.asarray(image.reduce(factor), dtype=np.float32) / 255
    only = band * (1 - body)
    color = color + (np.array(style.strap) - color) * (only > 0.02)[..., None]
    return np.maximum(body, only * 0.95), color, np.where(only > 0.02, 0.92, crease)


def _paint(style: MaskStyle, rng: np.random.RandomState, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colour of the cloth [T,T,3] with its pattern and a fine weave."""
    amount = _pattern(style, rng, u, v)[..., None]
    color = np.array(style.color) + (np.array(style.accent) - np.array(style.color)) * amount
    if style.pattern in ("flowers", "print"):
        third = from_hsv(rng.rand(), 0.7, rng.uniform(0.3, 0.95))
        color = color + (third - color) * _blobs(rng, u, v, style.pattern_scale, 0.35)[..., None] * amount
    weave = rng.randn(*u.shape) * 0.012 + 0.010 * np.sin(u * 190) * np.sin(v * 190)
    return np.clip(color + weave[..., None], 0, 1)


def _pattern(style: MaskStyle, rng: np.random.RandomState, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Share of the second colour [T,T]."""
    scale, angle = style.pattern_scale, rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    p, q = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
    wave_p, wave_q = np.sin(2 * np.pi * p / scale), np.sin(2 * np.pi * q / scale)
    if style.pattern == "stripes":
        return _sharp(wave_p - rng.uniform(-0.4, 0.6))
    if style.pattern == "checks":
        return 0.5 * _sharp(wave_p) + 0.5 * _sharp(wave_q)
    if style.pattern == "dots":
        return _sharp(wave_p * wave_q - 0.45)
    if style.pattern == "flowers":
        return _blobs(rng, u, v, scale, 0.55)
    if style.pattern == "camouflage":
        size = len(u)
        noise = gaussian_filter(rng.randn(size, size), scale * 0.5 * size / SPAN)
        levels = noise / noise.std()
        return _sharp(levels - 0.2) * 0.6 + _sharp(levels - 0.9) * 0.4
    if style.pattern == "fade":
        return np.clip(0.5 + (p - 0.5) * 0.8, 0, 1)
    if style.pattern == "print":
        centre = (rng.uniform(-0.4, 0.4), rng.uniform(0.9, 1.3))
        return _sharp(1 - np.hypot((u - centre[0]) / (1.2 * scale + 0.1), (v - centre[1]) / (scale + 0.05)) ** 2)
    if style.pattern == "speckle":
        return np.clip(rng.randn(*u.shape) * 0.25 + 0.3, 0, 1)
    return np.zeros_like(u)


def _sharp(wave: np.ndarray) -> np.ndarray:
    return np.clip(wave * 6 + 0.5, 0, 1)


def _blobs(rng: np.random.RandomState, u: np.ndarray, v: np.ndarray, scale: float, fill: float) -> np.ndarray:
    """Five-petalled spots on a shaken grid."""
    pitch = max(scale * 1.6, 0.12)
    cells = np.floor(np.stack([u, v], -1) / pitch).astype(int)
    table = rng.rand(64, 64, 4)
    draw = table[cells[..., 0] % 64, cells[..., 1] % 64]
    centre = (cells + 0.5 + (draw[..., :2] - 0.5) * 0.4) * pitch
    du, dv = u - centre[..., 0], v - centre[..., 1]
    petals = 0.75 + 0.25 * np.cos(5 * (np.arctan2(dv, du) + draw[..., 2] * 6))
    radius = pitch * 0.48 * (0.6 + 0.4 * draw[..., 3]) * petals * np.sqrt(fill / 0.55)
    return np.clip((radius - np.hypot(du, dv)) / 0.012 + 0.5, 0, 1)
