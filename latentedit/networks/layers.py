"""Layers shared by the networks: equalised-rate linear and convolution layers, and the modulated convolution.

Legend: ``N`` images, ``I``/``O`` input/output channels, ``H, W`` pixels, ``k`` kernel size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.cuda_ops import bias_act, setup_filter, upfirdn2d
from latentedit.cuda_ops.activation_reference import default_gain
from latentedit.cuda_ops.modulation import bounded, demodulation, energy, tamed


def normalize_2nd_moment(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale every row of ``x`` [N, C] to unit mean square (pixel norm of Karras et al. 2018)."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


class FullyConnectedLayer(nn.Module):
    """Linear layer with equalised learning rate: weights are stored as unit normals and scaled at run time.

    ``[N, in_features] -> [N, out_features]``; ``lr_multiplier`` slows learning as in the mapping network.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init))) if bias else None
        self.weight_gain = lr_multiplier / in_features**0.5
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.weight_gain
        bias = None if self.bias is None else self.bias.to(x.dtype) * self.bias_gain
        if self.activation == "linear":
            return F.linear(x, weight, bias)
        return bias_act(F.linear(x, weight), bias, act=self.activation)


def resampled_conv2d(
    x: Tensor,
    weight: Tensor,
    *,
    resample_filter: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    flip_weight: bool = True,
) -> Tensor:
    """Convolve ``x`` [N,I,H,W] with ``weight`` [O,I,k,k], resampled by ``up`` / ``down`` through a low-pass filter.

    ``padding`` is what a stride-1 convolution of the result's size would need (k // 2 keeps the size).
    ``flip_weight=True`` correlates, as ``torch.nn.functional.conv2d`` does; False convolves in the strict sense.
    Upsampling is a transposed convolution followed by the filter, downsampling the filter followed by a strided
    convolution: the polyphase forms that never materialise inserted zeros.
    """
    k = weight.shape[-1]
    taps = 1 if resample_filter is None else resample_filter.shape[-1]
    if up == 1 and down == 1:
        return F.conv2d(x, weight if flip_weight else weight.flip([2, 3]), padding=padding)
    if up > 1:
        before, after = padding + (taps + up - 1) // 2, padding + (taps - up) // 2
        if k == 1:
            x = F.conv2d(x, weight)
            return upfirdn2d(x, resample_filter, up=up, padding=[before, after] * 2, gain=up**2)
        kernel = (weight.flip([2, 3]) if flip_weight else weight).transpose(0, 1)
        x = F.conv_transpose2d(x, kernel, stride=up)
        return upfirdn2d(x, resample_filter, padding=[before - (k - 1), after - (k - up)] * 2, gain=up**2)
    before, after = padding + (taps - down + 1) // 2, padding + (taps - down) // 2
    kernel = weight if flip_weight else weight.flip([2, 3])
    if k == 1:
        return F.conv2d(upfirdn2d(x, resample_filter, down=down, padding=[before, after] * 2), kernel)
    x = upfirdn2d(x, resample_filter, padding=[before, after] * 2)
    return F.conv2d(x, kernel, stride=down)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
) -> Tensor:
    """Convolution whose weights are scaled per image (Karras et al. 2020, eqs. 1-3).

    Args:
        x: activations [N,I,H,W].
        weight: [O,I,k,k].
        styles: scale per image and input channel [N,I].
        noise: added to the result, broadcastable to [N,O,H',W'].
        demodulate: divide each output channel by the L2 norm of its scaled weights.

    Scaling the input and the output by ``styles`` and the norms equals scaling the weights, and lets the whole batch
    share one dense convolution; frozen weights then cost no weight gradient.
    """
    scale = None
    if demodulate:
        weight, styles = tamed(weight, x.dtype), bounded(styles, x.dtype)
        scale = demodulation(styles, energy(weight))
    x = x * styles.to(x.dtype)[:, :, None, None]
    x = resampled_conv2d(
        x,
        weight.to(x.dtype),
        resample_filter=resample_filter,
        up=up,
        down=down,
        padding=padding,
        flip_weight=flip_weight,
    )
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    return x if noise is None else x + noise.to(x.dtype)


class Conv2dLayer(nn.Module):
    """Convolution with equalised learning rate, optional resampling, bias, and activation."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        resample_taps: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.up = up
        self.down = down
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.weight_gain = (in_channels * kernel_size**2) ** -0.5
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("resample_filter", setup_filter(resample_taps))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        weight = (self.weight * self.weight_gain).to(x.dtype)
        x = resampled_conv2d(
            x,
            weight,
            resample_filter=self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=self.up == 1,
        )
        bias = None if self.bias is None else self.bias.to(x.dtype)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, bias, act=self.activation, gain=default_gain(self.activation) * gain, clamp=clamp)
