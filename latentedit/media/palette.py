"""One palette for all frames of a GIF, and dithering that stands still.

Error diffusion crawls from frame to frame. Here each colour has a fixed mixture of palette entries (Knoll's pattern
dithering, US patent 6606166, expired), and the position of a pixel alone picks among them: where the film does not
change, neither does a pixel of the GIF.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

_COLOURS = 255  # one entry stays free: see UNCHANGED
_MIXTURE = 8  # entries that stand for one colour
_STRENGTH = 0.5  # how much of the error so far is made good: 1 mixes farther entries, and looks grainy


UNCHANGED = 255
"""The entry that no colour takes: the encoder marks pixels that do not change by it."""


class SharedPalette:
    """One palette for a film, and the mixtures of its entries that stand for colours in between."""

    def __init__(self, sample: Sequence[Image.Image], dither: bool) -> None:
        """``sample``: a few RGB frames from all of the film."""
        self.colours = _palette(sample)
        self.dither = dither
        pattern = _pattern(sample[0].size) * _MIXTURE
        self._choice = pattern.astype(np.int64) if dither else np.zeros(pattern.shape, dtype=np.int64)
        # hides the steps of the codes
        self._jitter = (np.mod(pattern, 1.0)[..., None] - 0.5) * 4 if dither else 0.0
        self._table = np.zeros((1 << 18, _MIXTURE if dither else 1), dtype=np.uint8)
        self._known = np.zeros(1 << 18, dtype=bool)

    def apply(self, image: Image.Image) -> Image.Image:
        """An RGB frame in mode P."""
        values = np.clip(np.asarray(image, dtype=np.float32) + self._jitter, 0, 255)
        cells = values.astype(np.uint32) >> 2  # 6 bits a channel
        code = cells[..., 0] << 12 | cells[..., 1] << 6 | cells[..., 2]
        occurs = np.zeros_like(self._known)
        occurs[code] = True
        missing = np.flatnonzero(occurs & ~self._known)
        _mix(self._table, missing, self.colours)
        self._known[missing] = True
        frame = Image.frombytes("P", image.size, self._table[code, self._choice].tobytes())
        frame.putpalette(self.colours.astype(np.uint8).tobytes() + bytes(3 * (256 - len(self.colours))))
        return frame


def with_shared_palette(images: list[Image.Image], dither: bool) -> list[Image.Image]:
    """The RGB ``images`` in mode P with one palette."""
    palette = SharedPalette(images[:: max(1, len(images) // 12)], dither)
    return [palette.apply(image) for image in images]


def _palette(chosen: Sequence[Image.Image]) -> np.ndarray:
    """``[n <= 255, 3]`` colours for the frames ``chosen``: median cut, then k-means."""
    tiles = [image.resize((min(96, image.width), min(96, image.height)), Image.Resampling.BOX) for image in chosen]
    sample = Image.fromarray(np.concatenate([np.asarray(tile) for tile in tiles]))
    quantised = sample.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    used = np.unique(np.asarray(quantised))
    colours = np.asarray(quantised.getpalette("RGB"), dtype=np.float32).reshape(-1, 3)
    return np.unique(colours[used], axis=0)


def _pattern(size: tuple[int, int]) -> np.ndarray:
    """``[H, W]`` in [0, 1): interleaved gradient noise (Jimenez, "Next generation post processing", 2014)."""
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64))
    return np.mod(52.9829189 * np.mod(0.06711056 * x + 0.00583715 * y, 1.0), 1.0).astype(np.float32)


def _mix(table: np.ndarray, wanted: np.ndarray, palette: np.ndarray) -> None:
    """Fill the rows ``wanted`` of ``table`` uint8 ``[2**18, count]``: for each 6-bit RGB code, ``count`` entries from
    dark to light whose mean is near its colour."""
    count = table.shape[1]
    colours = np.stack([wanted >> 12, wanted >> 6 & 63, wanted & 63], 1).astype(np.float32) * 4 + 2
    light = palette @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    half_norm = 0.5 * (palette**2).sum(1)
    for start in range(0, len(wanted), 16384):
        part = colours[start : start + 16384]
        error = np.zeros_like(part)
        chosen = np.zeros((len(part), count), dtype=np.uint8)
        for i in range(count):
            nearest = ((part + _STRENGTH * error) @ palette.T - half_norm).argmax(1)
            chosen[:, i] = nearest
            error += part - palette[nearest]
        order = np.argsort(light[chosen], axis=1, kind="stable")
        table[wanted[start : start + 16384]] = np.take_along_axis(chosen, order, 1)
