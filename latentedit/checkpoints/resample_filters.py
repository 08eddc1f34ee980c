"""Resampling filters: buffers of a checkpoint that are a setting of the network, so they are read, or checked."""

from __future__ import annotations

import torch

from latentedit.checkpoints.checkpoint import State, not_understood
from latentedit.cuda_ops import setup_filter

Taps = tuple[float, ...]
_LARGEST = 64


def taps_of(kernel: torch.Tensor, name: str, origin: str) -> Taps:
    """Taps along one axis of ``kernel`` [k,k] or [k], as whole numbers where their ratios are.

    They are the network's setting, from which it makes buffers of the right size; the buffers themselves decide.

    Raises:
        ModelError: no filter that keeps the value of a constant picture.
    """
    square = kernel.ndim == 1 or (kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1])
    if not square or not 0 < kernel.shape[0] <= _LARGEST or abs(float(kernel.sum()) - 1) > 1e-3:
        raise not_understood(
            origin,
            f"its filter {name!r:.80} of shape {list(kernel.shape)} has the sum {kernel.sum():.3g}, not 1",
        )
    taps = kernel.double() if kernel.ndim == 1 else kernel.double().sum(dim=0)
    least = taps.abs()[taps.abs() > 1e-6].min()
    ratios = (taps / least).tolist()
    whole = [round(ratio) for ratio in ratios]
    return tuple(whole if all(abs(a - b) < 1e-3 for a, b in zip(whole, ratios, strict=True)) else taps.tolist())


def is_used(name: str) -> bool:
    """Whether the buffer ``name`` (``synthesis.b8.conv0.resample_filter``) takes part in rendering.

    ``conv1`` resamples nothing, and NVIDIA's code gives it a filter of the default shape whatever the others have; the
    block at 4 px has no picture to enlarge.
    """
    return ".conv1." not in name and name != "synthesis.b4.resample_filter"


def settle(state: State, taps: Taps) -> None:
    """Give ``state`` every filter that a network of ``taps`` registers; those that are used stay as the file has them.

    Filters that differ from ``taps`` by rounding alone become equal to it.
    """
    kernel = setup_filter(taps)
    heads = {name.rpartition(".")[0] for name in state if name.endswith(("noise_strength", ".skip.weight"))}
    blocks = {".".join(name.split(".")[:2]) for name in state if name.startswith("synthesis.b")}
    for head in heads | blocks:
        name = f"{head}.resample_filter"
        found = state.get(name)
        same = found is None or not is_used(name) or (found.shape == kernel.shape and torch.allclose(found, kernel))
        if same:
            state[name] = kernel.clone()


def taps_in(state: State, origin: str) -> Taps | None:
    """The taps of the filters in ``state``, by NVIDIA's names; None where it has none.

    Raises:
        ModelError: a filter that changes brightness, or filters of several sizes, which no network of ours has.
    """
    used = {name: value for name, value in state.items() if name.endswith("resample_filter") and is_used(name)}
    found = {name: taps_of(value, name, origin) for name, value in used.items()}
    if len({len(taps) for taps in found.values()}) > 1:
        sizes = ", ".join(f"{name} has {len(taps)}" for name, taps in list(found.items())[:3])
        raise not_understood(origin, f"its filters have several sizes ({sizes} taps)")
    return next(iter(found.values()), None)
