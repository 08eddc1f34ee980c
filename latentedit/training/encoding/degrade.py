"""What happens to a picture before an encoder sees it: masks, hands, light, blur, noise, compression, a shaken crop.

It is done at training time and anew whenever a picture is drawn, so that every render is seen in many states; the
answer that is asked for stays that of the clean picture. Legend: ``R`` side of the picture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from latentedit.errors import FaceError
from latentedit.faces.masks import MaskKind, draw_mask

_KINDS: tuple[MaskKind, ...] = ("surgical", "surgical", "cloth", "respirator")


@dataclass(frozen=True)
class DegradeConfig:
    """Shares of pictures that get each change, and how far the changes go.

    ``shift`` (share of the side), ``turn`` (degrees) and ``zoom`` (share) shake the crop; ``smallest`` is the least
    side that a picture is reduced to before it is enlarged again; ``noise`` the largest deviation in grey levels.
    """

    masked: float = 0.2
    occluded: float = 0.1
    shaken: float = 0.7
    lit: float = 0.6
    blurred: float = 0.6
    noisy: float = 0.4
    compressed: float = 0.4
    grey: float = 0.03
    shift: float = 0.025
    turn: float = 3.0
    zoom: float = 0.05
    smallest: float = 0.27
    noise: float = 10.0


CLEAN = DegradeConfig(masked=0, occluded=0, shaken=0, lit=0, blurred=0, noisy=0, compressed=0, grey=0)
"""Changes nothing."""


def degrade(
    picture: np.ndarray, random: np.random.Generator, config: DegradeConfig, landmarks: np.ndarray | None = None
) -> np.ndarray:
    """A changed copy, uint8 [R,R,3], of ``picture`` uint8 [R,R,3].

    ``landmarks`` [68,2] in its pixels are where a mask is drawn; without them there is none.
    """
    image = Image.fromarray(picture)
    chance = random.random(8)
    if chance[0] < config.masked and landmarks is not None and np.isfinite(landmarks).all():
        image = _masked(image, landmarks, random)
    elif chance[1] < config.occluded:
        image = occlude(image, random)
    if chance[2] < config.shaken:
        image = _shaken(image, random, config)
    if chance[3] < config.lit:
        image = _lit(image, random)
    if chance[7] < config.grey:
        image = image.convert("L").convert("RGB")
    if chance[4] < config.blurred:
        image = _blurred(image, random, config.smallest)
    if chance[5] < config.noisy:
        values = np.asarray(image, np.float32)
        values = values + random.normal(0, random.uniform(0, config.noise), values.shape)
        image = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    if chance[6] < config.compressed:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(random.uniform(25, 92)))
        image = Image.open(stream).convert("RGB")
    return np.asarray(image)


def occlude(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """``image`` behind a hand or a plain thing: a palm with fingers, or an ellipse or bar, softly shaded."""
    side = image.width
    cover = Image.new("L", (side, side))
    draw = ImageDraw.Draw(cover)
    centre = random.uniform(0.2, 0.8, 2) * side
    hand = random.random() < 0.5
    if hand:
        _draw_hand(draw, centre, side, random)
        color = np.array([196, 150, 125]) * random.uniform(0.35, 1.2) + random.normal(0, 8, 3)
    else:
        _draw_thing(draw, centre, side, random)
        color = random.uniform(0, 255, 3)
    cover = cover.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 0.012 * side + 0.5)))
    slope = np.linspace(-1, 1, side)
    shade = slope[None, :] * random.normal(0, 25) + slope[:, None] * random.normal(0, 25)
    grain = Image.fromarray(random.integers(0, 256, (side // 8, side // 8)).astype(np.uint8))
    texture = np.asarray(grain.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 128 - 1
    surface = color + (shade + texture * random.uniform(0, 20))[..., None]
    front = Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8))
    return Image.composite(front, image, cover)


def _draw_hand(draw: ImageDraw.ImageDraw, centre: np.ndarray, side: int, random: np.random.Generator) -> None:
    palm = random.uniform(0.1, 0.17) * side
    draw.ellipse([*(centre - palm), *(centre + palm)], fill=255)
    toward = random.uniform(0, 2 * np.pi)
    width = palm * random.uniform(0.36, 0.46)
    for finger in range(int(random.integers(3, 6))):
        angle = toward + (finger - 2) * random.uniform(0.22, 0.36)
        tip = centre + palm * random.uniform(1.7, 2.4) * np.array([np.cos(angle), np.sin(angle)])
        draw.line([tuple(centre), tuple(tip)], fill=255, width=max(round(width), 1))
        draw.ellipse([*(tip - width / 2), *(tip + width / 2)], fill=255)


def _draw_thing(draw: ImageDraw.ImageDraw, centre: np.ndarray, side: int, random: np.random.Generator) -> None:
    if random.random() < 0.5:
        radius = random.uniform(0.06, 0.24, 2) * side
        draw.ellipse([*(centre - radius), *(centre + radius)], fill=255)
        return
    angle, length = random.uniform(0, np.pi), 1.5 * side
    along = length * np.array([np.cos(angle), np.sin(angle)])
    width = round(random.uniform(0.04, 0.2) * side)
    draw.line([tuple(centre - along), tuple(centre + along)], fill=255, width=max(width, 1))


def _masked(image: Image.Image, landmarks: np.ndarray, random: np.random.Generator) -> Image.Image:
    """A drawn mask, drawn at half the size where that is enough: it takes a third of the time."""
    kind = _KINDS[int(random.integers(len(_KINDS)))]
    under = None if random.random() < 0.3 else False
    factor = 2 if image.width >= 256 else 1
    small = image if factor == 1 else image.reduce(factor)
    points = (landmarks + 0.5) / factor - 0.5
    try:
        drawn = draw_mask(small, points, kind=kind, under_nose=under, seed=int(random.integers(1 << 31)))
    except FaceError:
        return image
    if factor == 1:
        return drawn.photo
    large = [part.resize(image.size, Image.Resampling.BICUBIC) for part in (drawn.photo, drawn.region)]
    return Image.composite(large[0], image, large[1])


def _shaken(image: Image.Image, random: np.random.Generator, config: DegradeConfig) -> Image.Image:
    side = image.width
    scale = 1 + random.uniform(-config.zoom, config.zoom)
    angle = np.radians(random.uniform(-config.turn, config.turn))
    shift = random.uniform(-config.shift, config.shift, 2) * side
    pad = side // 4
    padded = np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    middle = np.array([side / 2, side / 2])
    start = middle + shift + pad - turn @ middle
    matrix = (turn[0, 0], turn[0, 1], start[0], turn[1, 0], turn[1, 1], start[1])
    return Image.fromarray(padded).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _lit(image: Image.Image, random: np.random.Generator) -> Image.Image:
    values = np.asarray(image, np.float32) / 255
    values = values ** np.exp(random.normal(0, 0.18))
    values = (values - 0.5) * np.exp(random.normal(0, 0.12)) + 0.5 + random.normal(0, 0.03)
    values = values * np.exp(random.normal(0, 0.03, 3))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * np.exp(random.normal(0, 0.15))
    return Image.fromarray(np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8))


def _blurred(image: Image.Image, random: np.random.Generator, smallest: float) -> Image.Image:
    side = image.width
    small = max(round(side * random.uniform(smallest, 1)), 8)
    down = Image.Resampling.BOX if random.random() < 0.5 else Image.Resampling.BILINEAR
    up = Image.Resampling.BICUBIC if random.random() < 0.7 else Image.Resampling.BILINEAR
    return image.resize((small, small), down).resize((side, side), up)
