"""Calls of `bias_act` and `upfirdn2d` in the native libraries. The CPU and the CUDA library look alike.

Every function takes tensors of one device and returns None where the library has no kernel for them, so that the
caller runs the reference.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.epilogue import Epilogue, apply_epilogue
from latentedit.cuda_ops.launch import pointer


def bias_act(
    order: int, tensors: dict[str, Tensor], b: Tensor | None, dim: int, spec: tuple[Any, ...]
) -> Tensor | None:
    """``order``-th derivative; ``tensors`` are those of x, y, dy, v that it needs, the one that rules the layout first.

    ``spec`` is (act, alpha, gain, clamp).
    """
    main = next(iter(tensors.values()))
    call = launch.function("le_bias_act", main)
    if call is None:
        return None
    layout = launch.memory_format(main) if dim == 1 else torch.contiguous_format
    tensors = {name: t.contiguous(memory_format=layout) for name, t in tensors.items()}
    out = launch.empty(main.shape, main, layout=layout)
    if layout is torch.channels_last:
        outer, channels, inner = out.numel() // max(out.shape[1], 1), out.shape[1], 1
    else:
        channels = out.shape[dim] if out.ndim else 1
        outer, inner = prod(out.shape[:dim]), prod(out.shape[dim + 1 :])
    b = None if b is None else b.to(main.dtype).contiguous()
    act, alpha, gain, clamp = spec
    operands = [pointer(t) for t in (tensors.get("x"), b, tensors.get("y"), tensors.get("dy"), tensors.get("v"), out)]
    call(order, *operands, outer, channels, inner, ACTIVATIONS[act].index, alpha, gain, clamp)
    return out


@dataclass(frozen=True)
class Resampling:
    """Arguments of `upfirdn2d` in the order (x, y) and (x0, x1, y0, y1); ``size`` is (height, width) of the result."""

    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]
    flip: bool
    gain: float
    size: tuple[int, int]


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    how: Resampling,
    *,
    epilogue: Epilogue | None = None,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor | None:
    """Resample, then apply the epilogue, then add ``add``; ``add`` and ``out`` have the shape of the result."""
    call = launch.function("le_upfirdn2d", x)
    if call is None or (x.dtype == torch.float64 and epilogue is not None):
        return None
    if f is not None and f.ndim == 1 and f.numel() > 4 and launch.is_cuda(x) and epilogue is None and add is None:
        return _two_passes(x, f, how)
    if epilogue is not None and launch.is_cuda(x) and not ACTIVATIONS[epilogue.act].piecewise_linear:
        y = upfirdn2d(x, f, how, out=out)  # the fused kernel knows no other activations
        return None if y is None else apply_epilogue(y, epilogue, inplace=True)
    layout = launch.memory_format(x)
    x = x.contiguous(memory_format=layout)
    n, channels, height, width = x.shape
    if out is None:
        out = launch.empty((n, channels, *how.size), x, layout=layout)
    add = None if add is None else add.to(x.dtype).contiguous(memory_format=layout)
    f = torch.ones(1, 1, device=x.device) if f is None else f.detach().to(device=x.device, dtype=torch.float32)
    separable = f.ndim == 1
    kx, ky = f.shape[-1], f.shape[0]
    f = torch.cat([f, f]) if separable else f.contiguous()
    struct = None if epilogue is None else epilogue.struct()
    call(
        pointer(x), pointer(f), pointer(add), pointer(out), n, channels, height, width, *how.size,
        int(layout is torch.channels_last), kx, ky, int(separable), *how.up, *how.down, how.padding[0], how.padding[2],
        int(how.flip), how.gain, None if struct is None else ctypes.addressof(struct),
    )  # fmt: skip
    return out


def _two_passes(x: Tensor, f: Tensor, how: Resampling) -> Tensor | None:
    """A long separable filter along x, then along y: the GPU kernel itself would take the whole product of both."""
    gain = abs(how.gain) ** 0.5
    px0, px1, py0, py1 = how.padding
    across = Resampling((how.up[0], 1), (how.down[0], 1), (px0, px1, 0, 0), how.flip, gain, (x.shape[2], how.size[1]))
    along = Resampling(
        (1, how.up[1]), (1, how.down[1]), (0, 0, py0, py1), how.flip, gain if how.gain >= 0 else -gain, how.size
    )
    y = upfirdn2d(x, f[None, :], across)
    return None if y is None else upfirdn2d(y, f[:, None], along)
