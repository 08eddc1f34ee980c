"""Calls of the epilogue of a convolution in the native libraries: forward, its gradient, and that of modulation.

Every function takes tensors of one device and returns None where the library has no kernel for them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentedit.cuda_ops import launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.interface import EpilogueStruct
from latentedit.cuda_ops.launch import pointer


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution: ``clamp(act(x * scale + noise + bias) * gain) * post``; all tensors float32.

    Attributes:
        scale: [N, C] demodulation, or None.
        noise: [N or 1, 1, H, W], strength included, or None.
        bias: [C], or None.
        act, alpha, gain, clamp: as in `bias_act`, none of them None; a negative clamp means none.
        post: [N, C] modulation of the next convolution, or None.
        product: where the result times ``post`` goes, laid out as the result, which then stays without the factor
            (CUDA only); None: the result itself is multiplied.
    """

    scale: Tensor | None
    noise: Tensor | None
    bias: Tensor | None
    act: str
    alpha: float
    gain: float
    clamp: float
    post: Tensor | None = None
    product: Tensor | None = None

    def of(self, image: int) -> Epilogue:
        """The epilogue of one image of the batch."""

        def row(t: Tensor | None) -> Tensor | None:
            return t if t is None or t.shape[0] == 1 else t[image : image + 1]

        return replace(self, **{name: row(getattr(self, name)) for name in ("scale", "noise", "post", "product")})

    def struct(self) -> EpilogueStruct:
        """The C view; valid while the tensors live."""
        shared = self.noise is None or self.noise.shape[0] == 1
        return EpilogueStruct(
            pointer(self.scale),
            pointer(self.noise),
            pointer(self.bias),
            pointer(self.post),
            pointer(self.product),
            0 if shared or self.noise is None else self.noise[0].numel(),
            ACTIVATIONS[self.act].index,
            self.alpha,
            self.gain,
            self.clamp,
        )


def can_fuse(x: Tensor) -> bool:
    """Whether `apply_epilogue` and the gradients exist for tensors like ``x``."""
    return x.dtype != torch.float64 and launch.function("le_epilogue", x) is not None


def apply_epilogue(x: Tensor, what: Epilogue, *, inplace: bool = False) -> Tensor | None:
    """Apply an epilogue to ``x`` [N, C, H, W], or overwrite it where it is dense and ``inplace``."""
    call = launch.function("le_epilogue", x)
    if call is None or x.dtype == torch.float64:
        return None
    layout = launch.memory_format(x)
    x = x.contiguous(memory_format=layout)
    out = x if inplace else launch.empty(x.shape, x, layout=layout)
    struct = what.struct()
    call(pointer(x), pointer(out), *x.shape, int(layout is torch.channels_last), ctypes.addressof(struct))
    return out


def epilogue_grad(
    dy: Tensor, y: Tensor, what: Epilogue, *, want_noise: bool
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Gradient of `apply_epilogue` from its output ``y``: (dx, dscale [N, C], dnoise [N, 1, H, W] or None).

    Only for "linear" and "lrelu" with positive alpha and gain, without ``post``; channels-last.
    """
    call = launch.function("le_epilogue_grad", y)
    if call is None or y.dtype == torch.float64:
        return None
    y = y.contiguous(memory_format=torch.channels_last)
    dy = dy.to(y.dtype).contiguous(memory_format=torch.channels_last)
    n, channels, height, width = y.shape
    parts = _parts(n, height * width, y)
    dx = launch.empty(y.shape, y, layout=torch.channels_last)
    sums = launch.empty((parts, n, channels), y, dtype=torch.float32)
    groups = channels // launch.library_of(y).le_group(launch.DTYPES[y.dtype], channels)
    noise = launch.empty((n, groups, height, width), y, dtype=torch.float32) if want_noise else None
    struct = what.struct()
    operands = [pointer(t) for t in (dy, y, dx, sums, noise)]
    call(*operands, n, channels, height, width, parts, ctypes.addressof(struct))
    if noise is not None and groups > 1:
        noise = noise.sum(dim=1, keepdim=True)
    return dx, sums.sum(dim=0), noise


def modulation_grad(g: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor] | None:
    """Gradient of ``x * styles[:, :, None, None]`` from ``g``: (dx, dstyles [N, C]); channels-last."""
    call = launch.function("le_modulation_grad", x)
    if call is None or x.dtype == torch.float64:
        return None
    x = x.contiguous(memory_format=torch.channels_last)
    g = g.to(x.dtype).contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    parts = _parts(n, height * width, x)
    dx = launch.empty(x.shape, x, layout=torch.channels_last)
    sums = launch.empty((parts, n, channels), x, dtype=torch.float32)
    call(*[pointer(t) for t in (g, x, styles.float().contiguous(), dx, sums)], n, channels, height, width, parts)
    return dx, sums.sum(dim=0)


def _parts(images: int, pixels: int, x: Tensor) -> int:
    """Into how many parts an image's pixels are cut for reductions; by shape alone, so that results are repeatable."""
    if x.device.type == "cpu":
        return max(1, min(16, pixels // 256))
    return max(1, min(256, pixels // 64))
