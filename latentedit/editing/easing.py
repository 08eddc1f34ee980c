"""Where a film is at each of its frames: positions between key frames, and how it speeds up and slows down there.

Legend: ``F`` frames, ``K`` key frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latentedit.errors import LatentError

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
