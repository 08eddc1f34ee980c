"""How drawn masks vary: kinds, colours, patterns, and the way they are worn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

MaskKind = Literal["surgical", "cloth", "respirator"]
Color = tuple[float, float, float]

PATTERNS = ("plain", "stripes", "checks", "dots", "flowers", "camouflage", "fade", "print", "speckle")


@dataclass(frozen=True)
class MaskStyle:
    """How a mask looks. Colours are sRGB in [0,1].

    ``form``: "surgical", "cloth", "fold" (a respirator folded in the middle) or "cup" (a moulded respirator).
    ``pattern``: one of ``PATTERNS``; ``accent`` is its second colour. ``drop`` lowers the upper edge: 0 sits on the
    bridge of the nose, 1 under the nose. ``slant`` turns the mask on the face (radians), ``width`` and ``height``
    scale it.
    """

    form: str = "surgical"
    color: Color = (0.62, 0.80, 0.88)
    accent: Color = (0.95, 0.95, 0.95)
    strap: Color = (0.95, 0.95, 0.95)
    pattern: str = "plain"
    pattern_scale: float = 0.15
    drop: float = 0.0
    slant: float = 0.0
    width: float = 1.0
    height: float = 1.0
    pleats: int = 3
    wrinkles: float = 1.0
    valve: bool = False
    straps: bool = True
    seed: int = 0


def random_style(rng: np.random.RandomState, kind: MaskKind, *, under_nose: bool | None = None) -> MaskStyle:
    """A style as people wear it; ``under_nose`` None leaves one in eight under the nose."""
    low = bool(rng.rand() < 0.125) if under_nose is None else under_nose
    style = MaskStyle(
        drop=float(rng.uniform(0.85, 1.1) if low else rng.uniform(-0.12, 0.25)),
        slant=float(np.clip(rng.randn() * 0.025, -0.07, 0.07)),
        width=float(rng.uniform(0.95, 1.05)),
        height=float(rng.uniform(0.95, 1.06)),
        wrinkles=float(rng.uniform(0.5, 1.6)),
        straps=bool(rng.rand() < 0.92),
        seed=int(rng.randint(2**31 - 1)),
    )
    return {"surgical": _surgical, "cloth": _cloth, "respirator": _respirator}[kind](rng, style)


def _pick(rng: np.random.RandomState, colors: list[Color], weights: list[float]) -> Color:
    color = np.array(colors[rng.choice(len(colors), p=np.array(weights) / sum(weights))])
    return tuple(np.clip(color + rng.randn() * 0.02 + rng.randn(3) * 0.015, 0.02, 0.99).tolist())


def _surgical(rng: np.random.RandomState, style: MaskStyle) -> MaskStyle:
    colors = [(0.62, 0.80, 0.88), (0.48, 0.70, 0.85), (0.60, 0.83, 0.78), (0.95, 0.95, 0.95), (0.10, 0.10, 0.11),
              (0.93, 0.73, 0.78), (0.76, 0.72, 0.86), (0.55, 0.58, 0.62)]  # fmt: skip
    color = _pick(rng, colors, [6, 4, 3, 4, 3, 1, 0.7, 0.7])
    dark = sum(color) < 0.8
    strap = _pick(rng, [color, (0.95, 0.95, 0.95)], [3 if dark else 0.5, 0.5 if dark else 3])
    return replace(style, form="surgical", color=color, strap=strap, pleats=int(rng.randint(2, 5)))


def _cloth(rng: np.random.RandomState, style: MaskStyle) -> MaskStyle:
    hue = tuple(np.clip(from_hsv(rng.rand(), rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.95)), 0, 1).tolist())
    colors = [(0.08, 0.08, 0.09), (0.15, 0.19, 0.32), (0.45, 0.46, 0.48), (0.93, 0.92, 0.89), (0.55, 0.13, 0.15), hue]
    color = _pick(rng, colors, [4, 2, 2, 2, 1, 8])
    accent = tuple(from_hsv(rng.rand(), rng.uniform(0.0, 0.9), rng.uniform(0.1, 1.0)).tolist())
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=np.array([8, 2, 2, 2, 2, 1, 1, 2, 1]) / 21)]
    strap = _pick(rng, [color, (0.95, 0.95, 0.95), (0.08, 0.08, 0.08)], [3, 1, 1.5])
    scale = float(np.exp(rng.uniform(np.log(0.06), np.log(0.32))))
    return replace(style, form="cloth", color=color, accent=accent, strap=strap, pattern=pattern, pattern_scale=scale)


def _respirator(rng: np.random.RandomState, style: MaskStyle) -> MaskStyle:
    form = "fold" if rng.rand() < 0.65 else "cup"
    colors = [(0.94, 0.94, 0.93), (0.09, 0.09, 0.10), (0.62, 0.64, 0.66), (0.90, 0.76, 0.78), (0.55, 0.70, 0.82)]
    color = _pick(rng, colors, [8, 2, 1, 0.6, 0.8])
    strap = _pick(
        rng, [(0.93, 0.93, 0.92), (0.88, 0.74, 0.22), (0.10, 0.10, 0.10), (0.25, 0.40, 0.70)], [4, 1.5, 1, 0.6]
    )
    accent = _pick(
        rng, [(0.85, 0.85, 0.86), (0.30, 0.32, 0.36), (0.25, 0.45, 0.72), (0.80, 0.30, 0.25)], [4, 2, 1, 0.5]
    )
    valve = bool(rng.rand() < 0.3)
    return replace(style, form=form, color=color, accent=accent, strap=strap, valve=valve, drop=min(style.drop, 1.0))


def from_hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """sRGB [3] of a colour given as hue, saturation and value in [0,1]."""
    channel = np.array([5.0, 3.0, 1.0]) + hue * 6
    k = channel % 6
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
