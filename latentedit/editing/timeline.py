"""Where a film is at each of its frames: positions between key frames, how it speeds up and slows down, and the path.

Pure arithmetic; nothing here renders. Legend: ``F`` frames, ``K`` key frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentError
from latentedit.latents import lerp, slerp

Curve = Literal["linear", "slerp", "cubic"]
CURVES: tuple[Curve, ...] = ("linear", "slerp", "cubic")

Easing = Callable[[np.ndarray], np.ndarray]
"""Maps times [F] in [0,1] to shares of the way [F], 0 to 0 and 1 to 1."""

EASINGS: dict[str, Easing] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "smoother": lambda t: t**3 * (t * (6 * t - 15) + 10),
    "cosine": lambda t: 0.5 - 0.5 * np.cos(np.pi * t),
    "in": lambda t: t * t,
    "out": lambda t: t * (2 - t),
}
"""``smooth`` starts and stops with no speed, ``smoother`` (Perlin 2002) with no acceleration either."""


def easing_function(easing: str | Easing) -> Easing:
    """The function of a name in `EASINGS`; a function is returned as it is.

    Raises:
        LatentError: an unknown name.
    """
    if callable(easing):
        return easing
    if easing not in EASINGS:
        raise LatentError(f"Easing {easing!r} is unknown.", f"Choose one of {', '.join(EASINGS)}, or give a function.")
    return EASINGS[easing]


def positions(keys: int, frames: int, *, loop: bool, easing: str | Easing = "linear") -> np.ndarray:
    """Positions [F] on the way over ``keys`` key frames: 1.25 is a quarter of the way from the second to the third.

    With ``loop`` the way goes back to the first key frame and ends one frame before it, so that the film repeats
    without a pause; without, the first and last frames are the first and last key frames. The easing applies to every
    stretch between two key frames.

    Raises:
        LatentError: no frames, or no key frames.
    """
    if frames < 1 or keys < 1:
        raise LatentError(f"{frames} frames over {keys} key frames make no film.", "Give at least one of each.")
    if keys == 1:
        return np.zeros(frames)
    raw = np.arange(frames) * keys / frames if loop else np.linspace(0, keys - 1, frames)
    stretch = np.minimum(np.floor(raw + 1e-9), keys - (1 if loop else 2))
    share = np.clip(raw - stretch, 0, 1)
    return stretch + easing_function(easing)(share)


def along(keys: Tensor, at: np.ndarray, *, curve: Curve = "linear", loop: bool = False) -> Tensor:
    """Points [F, ...] at positions ``at`` [F] of a path through ``keys`` [K, ...] (see `positions`).

    ``linear``: straight lines. ``slerp``: great circles over the last axis, for Gaussian ``z``. ``cubic``: one spline
    with continuous speed and acceleration through all keys, periodic with ``loop``, else natural at the ends.

    Raises:
        LatentError: an unknown curve.
    """
    if curve not in CURVES:
        raise LatentError(f"Curve {curve!r} is unknown.", f"Choose one of {', '.join(CURVES)}.")
    count = len(keys)
    if count == 1:
        return keys.expand(len(at), *keys.shape[1:]).clone()
    if curve == "cubic":
        return _spline(keys, at, loop)
    before = np.minimum(np.floor(at + 1e-9).astype(int), count - (1 if loop else 2))
    share = torch.as_tensor(at - before, dtype=keys.dtype, device=keys.device).reshape(-1, *[1] * (keys.ndim - 1))
    first = torch.as_tensor(before % count, device=keys.device)
    second = torch.as_tensor((before + 1) % count, device=keys.device)
    return (slerp if curve == "slerp" else lerp)(keys[first], keys[second], share)


def _spline(keys: Tensor, at: np.ndarray, loop: bool) -> Tensor:
    from scipy.interpolate import CubicSpline

    values = keys.detach().cpu().double().numpy()
    if loop:
        values = np.concatenate([values, values[:1]])
    spline = CubicSpline(np.arange(len(values)), values, axis=0, bc_type="periodic" if loop else "natural")
    return torch.from_numpy(np.ascontiguousarray(spline(at))).to(keys)
