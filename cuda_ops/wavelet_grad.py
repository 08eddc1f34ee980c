"""The gradient of a fused wavelet block towards its input, styles, noise and pointwise weights: one pass over memory.

The products for the weights take what a band of that pass has in hand, which is written out only where they are wanted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import wavelet_native
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.wavelet_reference import composed

NAMES = (
    *("x", "up", "styles1", "styles2", "depthwise1", "depthwise2", "weight1", "weight2", "bias1", "bias2"),
    *("noise1", "noise2", "head", "head_bias"),
)
"""Of the arguments of `wavelet_block`, in order."""

NATIVE = {"x", "up", "styles1", "styles2", "weight1", "weight2", "noise1", "noise2", "head"}
"""Those that the native kernels give gradients for."""


def needed(which: int) -> list[bool]:
    """For each of `NAMES`, whether its bit of ``which`` is set."""
    return [bool(which >> i & 1) for i in range(len(NAMES))]


def _forward(dy: Tensor, y: Tensor | None, *rest: Any) -> list[Tensor]:
    *tensors, which = rest
    need = needed(which)
    native = all(name in NATIVE for name, n in zip(NAMES, need, strict=True) if n)
    if native and wavelet_native.serves(*tensors):
        return wavelet_native.backward(dy, y, tensors, need)
    with torch.enable_grad():
        leaves = [None if t is None else t.detach().requires_grad_(n) for t, n in zip(tensors, need, strict=True)]
        chosen = [t for t, n in zip(leaves, need, strict=True) if n and t is not None]
        found = torch.autograd.grad(composed(*leaves), chosen, dy)
    return [_laid_out(t, i == 0 and need[0]) for i, t in enumerate(found)]


def _laid_out(t: Tensor, is_input: bool) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last if is_input else torch.contiguous_format)


def _fake(dy: Tensor, y: Tensor | None, *rest: Any) -> list[Tensor]:
    *tensors, which = rest
    chosen = [t for t, n in zip(tensors, needed(which), strict=True) if n]
    return [
        torch.empty_like(t, memory_format=torch.channels_last if t is tensors[0] else torch.contiguous_format)
        for t in chosen
    ]


wavelet_block_backward = register(
    "wavelet_block_backward(Tensor dy, Tensor? y, Tensor x, Tensor up, Tensor styles1, Tensor styles2, "
    "Tensor depthwise1, Tensor depthwise2, Tensor weight1, Tensor weight2, Tensor bias1, Tensor bias2, "
    "Tensor? noise1, Tensor? noise2, Tensor? head, Tensor? head_bias, int which) -> Tensor[]",
    _forward,
    _fake,
)
