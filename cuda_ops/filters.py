"""Filters of the resampling operations, and the parsing of factors and padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

SEPARABLE_FROM = 8
"""A 1-D filter of at least this many taps stays 1-D by default: two passes then cost less than one 2-D pass."""


def setup_filter(
    taps: torch.Tensor | Sequence[float] | Sequence[Sequence[float]] | float | None,
    *,
    separable: bool | None = None,
    normalize: bool = True,
    flip: bool = False,
    gain: float = 1,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Make the filter tensor that `upfirdn2d` takes.

    Args:
        taps: [k] one axis of a separable filter, [kh, kw] a 2-D filter, a number, or None for the identity.
        separable: keep 1-D taps 1-D (applied along both axes); None: from 8 taps on.
        normalize: divide by the sum, so that a constant image keeps its value.
        flip: reverse every axis.
        gain: factor of the whole 2-D filter; a separable one carries its square root per axis.

    Returns:
        float32 [k] (separable) or [kh, kw].

    Raises:
        ValueError: taps of more than two dimensions or none at all, or a 2-D filter that should be separable.
    """
    f = torch.as_tensor(1.0 if taps is None else taps, dtype=torch.float32, device=device).detach()
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"A filter has one or two dimensions and at least one tap, not shape {list(f.shape)}.")
    f = f.reshape(1) if f.ndim == 0 else f
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= SEPARABLE_FROM
    if f.ndim == 2 and separable:
        raise ValueError(f"A filter of shape {list(f.shape)} cannot stay separable. Pass its 1-D taps.")
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    if normalize:
        f = f / f.sum()
    if flip:
        f = f.flip(list(range(f.ndim)))
    return (f * gain ** (f.ndim / 2)).contiguous()


def filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """Width and height in taps; (1, 1) for None."""
    if f is None:
        return 1, 1
    return f.shape[-1], f.shape[0]


def parse_factor(factor: int | Sequence[int], name: str) -> tuple[int, int]:
    """(x, y) of a factor given as an int or as [x, y]; each is at least 1."""
    fx, fy = (factor, factor) if isinstance(factor, int) else factor
    if fx < 1 or fy < 1:
        raise ValueError(f"{name}={factor!r} is not a positive integer or a pair [x, y] of them.")
    return fx, fy


def parse_padding(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of a padding given as an int, [x, y], or [x0, x1, y0, y1]; negative crops."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    if len(padding) == 2:
        px, py = padding
        return px, px, py, py
    if len(padding) == 4:
        px0, px1, py0, py1 = padding
        return px0, px1, py0, py1
    raise ValueError(f"padding={padding!r} is not an integer, [x, y], or [x0, x1, y0, y1].")
