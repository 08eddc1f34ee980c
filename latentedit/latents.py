"""Latents: shapes, layer groups, seeds, and the paths between two of them.

Legend: ``N`` latents, ``L`` style layers (``num_ws``), ``D`` latent dimension.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentError, LayerError
from latentedit.files import atomic_path

LAYER_GROUPS = {"coarse": (4, 8), "middle": (16, 32), "fine": (64, 1 << 30)}
"""Lowest and highest resolution of each group (Karras et al. 2019, section 3.1)."""

MOST_SEEDS = 1_000_000

Layers = str | int | Iterable[int] | None


def layer_indices(layers: Layers, layer_resolutions: Sequence[int]) -> tuple[int, ...]:
    """Resolve a layer selection to sorted indices.

    Args:
        layers: ``"coarse" | "middle" | "fine"`` (resolutions 4-8, 16-32, 64 and up), ``"0-6"``, ``"0-3,8"``, an
            index, indices, or None for all.
        layer_resolutions: resolution of each style layer, ``generator.synthesis.layer_resolutions``.

    Raises:
        LayerError: a selection that cannot be read, is empty, or lies outside the generator's layers.
    """
    count = len(layer_resolutions)
    if layers is None:
        return tuple(range(count))
    if isinstance(layers, str) and layers in LAYER_GROUPS:
        low, high = LAYER_GROUPS[layers]
        chosen = [i for i, r in enumerate(layer_resolutions) if low <= r <= high]
        if not chosen:
            raise LayerError(
                f"layers={layers!r} is empty in a generator of {layer_resolutions[-1]} px.", _layers_help(count)
            )
        return tuple(chosen)
    if isinstance(layers, str):
        try:
            ranges = _read_ranges(layers)
        except ValueError:
            raise LayerError(f"layers={layers!r} cannot be read.", _layers_help(count)) from None
        # a range beyond the layers stays short: it may be longer than memory
        chosen = [i for one in ranges for i in (one if one[-1] < count else one[-1:])]
    else:
        chosen = [layers] if isinstance(layers, int) else [int(i) for i in layers]
    outside = [i for i in chosen if not 0 <= i < count]
    if outside or not chosen:
        raise LayerError(f"layers={layers!r} lies outside this generator's {count} layers.", _layers_help(count))
    return tuple(sorted(set(chosen)))


def _layers_help(count: int) -> str:
    return f"Choose 'coarse', 'middle', 'fine', or a range within '0-{count - 1}'."


def _read_ranges(text: str) -> list[range]:
    """The ranges of ``"0-9,17"``, which may be longer than memory."""
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise ValueError(part)
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise ValueError(part)
        ranges.append(range(first, last + 1))
    return ranges


def parse_seeds(text: str) -> list[int]:
    """Read seeds written as ``"0-9,17"``.

    Raises:
        LatentError: text of another form, a seed beyond 2**32 - 1, or more than a million of them.
    """
    try:
        ranges = _read_ranges(text)
    except ValueError:
        raise LatentError(f"Seeds {text!r} cannot be read.", "Write them as '0-9,17'.") from None
    largest, count = max(one[-1] for one in ranges), sum(one[-1] - one[0] + 1 for one in ranges)
    if largest >= 2**32:
        raise LatentError(f"Seed {largest} is too large.", "Seeds run from 0 to 4294967295.")
    if count > MOST_SEEDS:
        raise LatentError(f"Seeds {text!r} are {count}; at most {MOST_SEEDS} at once.", "Write a shorter range.")
    return [seed for one in ranges for seed in one]


def seed_z(seeds: int | Iterable[int], z_dim: int) -> Tensor:
    """Draw ``z`` [N, z_dim] for seeds as stylegan2-ada does: ``RandomState(seed).randn(1, z_dim)`` each."""
    chosen = [seeds] if isinstance(seeds, int) else list(seeds)
    rows = [np.random.RandomState(seed).randn(1, z_dim) for seed in chosen]
    return torch.from_numpy(np.concatenate(rows) if rows else np.zeros((0, z_dim))).to(torch.float32)


def check_ws(ws: Tensor | np.ndarray, num_ws: int, w_dim: int) -> Tensor:
    """Return ``ws`` as float32 [N, num_ws, w_dim]; a [N, w_dim] or [N, 1, w_dim] is repeated over the layers.

    Raises:
        LatentError: another shape, or values that are not finite.
    """
    tensor = torch.as_tensor(ws).to(torch.float32)
    if tensor.ndim == 2 and tensor.shape == (num_ws, w_dim) and num_ws > 1:
        tensor = tensor.unsqueeze(0)
    elif tensor.ndim == 1 and tensor.shape[0] == w_dim:
        tensor = tensor.reshape(1, 1, w_dim).repeat(1, num_ws, 1)
    elif tensor.ndim == 2 and tensor.shape[1] == w_dim:
        tensor = tensor.unsqueeze(1).repeat(1, num_ws, 1)
    elif tensor.ndim == 3 and tensor.shape[1:] == (1, w_dim):
        tensor = tensor.repeat(1, num_ws, 1)
    if tensor.ndim != 3 or tensor.shape[1:] != (num_ws, w_dim):
        raise LatentError(
            f"ws has shape {tuple(torch.as_tensor(ws).shape)}.", f"This generator takes ws [N, {num_ws}, {w_dim}]."
        )
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        row = int((~finite).flatten(1).any(dim=1).nonzero()[0])
        raise LatentError(
            f"ws holds NaN or infinite values in row {row}.", "Invert the photo again, or check how it was made."
        )
    return tensor


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Straight path from ``a`` to ``b``: ``a + t * (b - a)``."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Great-circle path between rows of ``a`` and ``b`` [..., D] (Shoemake 1985), for Gaussian ``z``.

    Lengths are interpolated linearly; nearly parallel or opposite rows fall back to `lerp`.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp_min(1e-12), b / length_b.clamp_min(1e-12)
    cosine = (unit_a * unit_b).sum(dim=-1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    flat = sine.abs() < 1e-4
    safe = torch.where(flat, torch.ones_like(sine), sine)
    unit = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / safe
    return torch.where(flat, lerp(a, b, t), unit * lerp(length_a, length_b, t))


def matched_rows(rows: Tensor, count: int) -> Tensor:
    """``rows`` [..., L, D] of style layers for a generator of ``count`` layers that shares its W, [..., count, D].

    Such generators number their rows alike from 4 px on: rows of resolutions that are not there fall away, and the last
    row stands for those that are missing.
    """
    have = rows.shape[-2]
    if have >= count:
        return rows[..., :count, :]
    return torch.cat([rows, rows[..., -1:, :].expand(*rows.shape[:-2], count - have, -1)], dim=-2)


def save_ws(path: str | os.PathLike[str], ws: Tensor) -> None:
    """Write ``ws`` [N, num_ws, w_dim] as ``.npz`` with the key ``w``: stylegan2-ada's ``projected_w.npz``.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, w=ws.detach().cpu().numpy())
