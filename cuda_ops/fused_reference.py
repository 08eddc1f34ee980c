"""The specification of `styled_conv` as separate operations, and the mathematics that its kernels share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.cuda_ops.activation import bias_act
from latentedit.cuda_ops.modulation import bounded, demodulation, energy, tamed
from latentedit.cuda_ops.resample import upfirdn2d
from latentedit.cuda_ops.weights import prepared


def paddings(f: Tensor | None, up: int) -> tuple[int, int]:
    """Padding of the filter that follows a transposed 3x3 convolution of stride ``up``, so that sizes multiply."""
    taps = 1 if f is None else f.shape[-1]
    return 1 + (taps + up - 1) // 2 - 2, 1 + (taps - up) // 2 - (3 - up)


def composed(
    x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None, bias: Tensor, f: Tensor | None, up: int, *spec: Any
) -> Tensor:
    """The specification, of operations that are differentiable to any order."""
    weight = tamed(weight, x.dtype)
    scale = demodulation(bounded(styles, x.dtype), energy(weight))
    return after_modulation(modulated(x, styles), weight, scale, noise, bias, f, up, *spec)


def after_modulation(
    x: Tensor, weight: Tensor, scale: Tensor, noise: Tensor | None, bias: Tensor, f: Tensor | None, up: int, *spec: Any
) -> Tensor:
    """What follows the modulation of ``x``; ``scale`` [N, O] demodulates."""
    act, alpha, gain, clamp = spec
    x = convolve(x, weight.to(x.dtype), up)
    if up > 1:
        before, after = paddings(f, up)
        x = upfirdn2d(x, f, padding=[before, after] * 2, gain=up**2)
    x = x * scale.to(x.dtype)[:, :, None, None]
    x = x if noise is None else x + noise.to(x.dtype)
    return bias_act(x, bias.to(x.dtype), act=act, alpha=alpha, gain=gain, clamp=None if clamp < 0 else clamp)


def modulated(x: Tensor, styles: Tensor) -> Tensor:
    """``x`` [N, I, H, W] times ``styles`` [N, I], `bounded` for the dtype of ``x``."""
    return x * bounded(styles, x.dtype).to(x.dtype)[:, :, None, None]


def convolve(x: Tensor, weight: Tensor, up: int) -> Tensor:
    if up == 1:
        return F.conv2d(x, weight, padding=1)
    return F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)


def convolve_back(g: Tensor, weight: Tensor, up: int) -> Tensor:
    if up == 1:
        return F.conv_transpose2d(g, weight, padding=1)
    return F.conv2d(g, weight.transpose(0, 1), stride=up)


def modulation(styles: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Factors of the input channels [N, I] and of the output channels [N, O], from prepared norms."""
    kind = "tamed energy" if dtype == torch.float16 else "energy"
    norms = prepared(weight, kind, lambda w: energy(tamed(w, dtype)))
    styles = bounded(styles, dtype)
    return styles, demodulation(styles, norms)


def typed(weight: Tensor, dtype: torch.dtype, up: int) -> Tensor:
    """Weights in the dtype of the activations and channels-last in the order that `convolve` wants; float16 tamed."""

    def make(w: Tensor) -> Tensor:
        w = tamed(w, dtype)
        w = w.to(dtype) if up == 1 else w.to(dtype).transpose(0, 1)
        return w.contiguous(memory_format=torch.channels_last)

    prepared_weight = prepared(weight, f"{dtype} {up}", make)
    return prepared_weight if up == 1 else prepared_weight.transpose(0, 1)
