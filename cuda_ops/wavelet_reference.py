"""The operations of MobileStyleGAN (Belousov 2021) in plain PyTorch: specification and fallback of fused kernels.

A styled layer of that network is two passes over memory, and each is one function here:

(a) `styled_depthwise`: wavelet step (where the layer upsamples), modulation, and depthwise 3x3 convolution;
(b) `pointwise_lrelu`: 1x1 convolution, noise, bias, and leaky ReLU.

`composed` is a whole block of them, `image_cells` the layer that ends the network; `latentedit.cuda_ops.wavelet`
fuses these. Activations are channels-last; every function keeps that layout.

Legend: ``N`` images, ``C``/``O`` channels in and out, ``H, W`` pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
"""Of the leaky ReLU; it has no gain."""

HAAR = ((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, -1.0, -1.0), (1.0, -1.0, 1.0, -1.0), (1.0, -1.0, -1.0, 1.0))
"""Twice the inverse transform: rows are the pixels of a cell, columns LL, LH, HL, HH."""


def haar_cells(x: Tensor) -> Tensor:
    """Twice the inverse Haar transform of ``x`` [N,4C,H,W] -> [N,C,2H,2W]; exact as adds and a pixel shuffle.

    The channels are four blocks: averages LL, then the details LH, HL, HH. A pixel becomes the cell
    ``LL+LH+HL+HH, LL+LH-HL-HH`` above ``LL-LH+HL-HH, LL-LH-HL+HH``.
    """
    n, channels, height, width = x.shape
    low, vertical, horizontal, diagonal = x.permute(0, 2, 3, 1).chunk(4, dim=3)
    above, below = low + vertical, low - vertical
    plus, minus = horizontal + diagonal, horizontal - diagonal
    rows = [torch.stack([above + plus, above - plus], dim=3), torch.stack([below + minus, below - minus], dim=3)]
    cells = torch.stack(rows, dim=2)  # [N,H,2,W,2,C]
    return cells.reshape(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def styled_depthwise(x: Tensor, weight: Tensor, styles: Tensor, up_styles: Tensor | None = None) -> Tensor:
    """Modulated depthwise 3x3 convolution, after a wavelet step where ``up_styles`` are given.

    Args:
        x: [N,C,H,W], or [N,4C,H,W] to be upsampled (see `haar_cells` for the order of its channels).
        weight: [C,1,3,3].
        styles: [N,C], scale of the channels that are convolved.
        up_styles: [N,4C], scale of the wavelet coefficients; None convolves ``x`` as it is.

    Returns:
        [N,C,H,W], or [N,C,2H,2W].
    """
    if up_styles is not None:
        x = haar_cells(x * (0.5 * up_styles)[:, :, None, None])
    return F.conv2d(x * styles[:, :, None, None], weight, padding=1, groups=weight.shape[0])


def pointwise_lrelu(x: Tensor, weight: Tensor, bias: Tensor, noise: Tensor | None = None) -> Tensor:
    """``leaky_relu(weight x + noise + bias)`` [N,O,H,W] of ``x`` [N,C,H,W] and ``weight`` [O,C], ``bias`` [O].

    ``noise`` is broadcastable to [N,1,H,W], its strength applied.
    """
    x = F.conv2d(x, weight[:, :, None, None], bias)
    if torch.is_grad_enabled():
        return F.leaky_relu(x if noise is None else x + noise, SLOPE)
    return F.leaky_relu_(x if noise is None else x.add_(noise), SLOPE)


def cell_weights(weight: Tensor, bias: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """A modulated 1x1 convolution and the wavelet step after it as one product, since both are linear.

    Args:
        weight: [4c,C] to coefficients of c channels in four blocks, as `haar_cells` takes them.
        bias: [4c].
        styles: [N,C].

    Returns:
        Weights [N,4c,C] and bias [4c] to the pixels of a cell, channel by channel, as `image_cells` takes them.
    """
    haar = 0.5 * torch.tensor(HAAR, dtype=weight.dtype, device=weight.device)
    pixels = torch.einsum("pb,bck->cpk", haar, weight.unflatten(0, (4, -1))).flatten(0, 1)
    return pixels * styles[:, None, :], torch.einsum("pb,bc->cp", haar, bias.unflatten(0, (4, -1))).flatten()


def image_cells(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Images [N,c,2H,2W], contiguous, of features ``x`` [N,C,H,W]; ``weight`` and ``bias`` as of `cell_weights`."""
    n, channels, height, width = x.shape
    features = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    cells = torch.baddbmm(bias.to(x.dtype), features, weight.to(x.dtype).transpose(1, 2))
    cells = cells.view(n, height, width, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(n, -1, 2 * height, 2 * width)


def composed(*tensors: Tensor | None) -> Tensor:
    """A block, and the image layer where it has a head: the specification of the registered ``wavelet_block``.

    ``tensors`` are the features and the styles of the wavelet step; pairs of the styles, depthwise weights, pointwise
    weights, biases and noise of both layers, as of `styled_depthwise` and `pointwise_lrelu`; then weights and bias of
    `cell_weights` or None.
    """
    x, up, *rest = tensors
    assert x is not None
    assert up is not None
    *pairs, (head, head_bias) = zip(rest[::2], rest[1::2], strict=True)
    for i, (styles, depthwise, weight, bias, noise) in enumerate(zip(*pairs, strict=True)):
        assert styles is not None
        assert depthwise is not None
        assert weight is not None
        assert bias is not None
        x = styled_depthwise(x, depthwise, styles, up if i == 0 else None)
        x = pointwise_lrelu(x, weight, bias, noise)
    if head is None or head_bias is None:
        return x.contiguous(memory_format=torch.channels_last)
    return image_cells(x, head, head_bias)
