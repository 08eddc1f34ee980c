"""Paths through key latents; pure arithmetic, nothing here renders.

Legend: ``F`` frames, ``K`` key frames.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentError
from latentedit.latents import lerp, slerp

Curve = Literal["linear", "slerp", "cubic"]
CURVES: tuple[Curve, ...] = ("linear", "slerp", "cubic")


def along(keys: Tensor, at: np.ndarray, *, curve: Curve = "linear", loop: bool = False) -> Tensor:
    """Points [F, ...] at positions ``at`` [F] of a path through ``keys`` [K, ...] (positions as in `easing`).

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
