"""The specification of `upfirdn2d` in plain PyTorch, built of depthwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


def output_size(size: int, up: int, down: int, pad0: int, pad1: int, taps: int) -> int:
    """Pixels along one axis after zero insertion, padding, filtering, and decimation (0 or less: impossible)."""
    return (size * up + pad0 + pad1 - taps) // down + 1


def upfirdn2d_reference(
    x: Tensor, f: Tensor | None, up: Pair, down: Pair, padding: Padding, flip: bool, gain: float
) -> Tensor:
    """See `latentedit.cuda_ops.upfirdn2d`. Pairs are (x, y); differentiable to any order in ``x``."""
    if f is None:
        f = torch.ones(1, 1, dtype=torch.float32, device=x.device)
    if gain < 0:
        return -upfirdn2d_reference(x, f, up, down, padding, flip, -gain)
    kernel = f.detach() * gain ** (f.ndim / 2)
    kernel = (kernel if flip else kernel.flip(list(range(kernel.ndim)))).to(x.dtype)
    px0, px1, py0, py1 = padding
    if x.numel() == 0:
        height = output_size(x.shape[2], up[1], down[1], py0, py1, kernel.shape[0])
        width = output_size(x.shape[3], up[0], down[0], px0, px1, kernel.shape[-1])
        return x.new_zeros(x.shape[0], x.shape[1], height, width)
    if kernel.ndim == 1:
        x = _filter(x, kernel[None, :], (up[0], 1), (down[0], 1), (px0, px1, 0, 0))
        return _filter(x, kernel[:, None], (1, up[1]), (1, down[1]), (0, 0, py0, py1))
    return _filter(x, kernel, up, down, padding)


def _filter(x: Tensor, f: Tensor, up: Pair, down: Pair, padding: Padding) -> Tensor:
    """Correlate with the 2-D ``f`` after zero insertion by ``up`` and padding; keep every ``down``-th pixel."""
    if up != (1, 1) and down == (1, 1) and x.dtype in (torch.float32, torch.float64):
        return _transposed(x, f, up, padding)
    channels = x.shape[1]
    weight = f.expand(channels, 1, *f.shape).contiguous()
    x = _insert_zeros(x, up)
    px0, px1, py0, py1 = padding
    if px0 == px1 >= 0 and py0 == py1 >= 0:
        return F.conv2d(x, weight, stride=(down[1], down[0]), padding=(py0, px0), groups=channels)
    return F.conv2d(_pad(x, padding), weight, stride=(down[1], down[0]), groups=channels)


def _transposed(x: Tensor, f: Tensor, up: Pair, padding: Padding) -> Tensor:
    """The same for ``down`` 1 as a strided transposed convolution, which never multiplies the inserted zeros."""
    channels = x.shape[1]
    weight = f.flip([0, 1]).expand(channels, 1, *f.shape).contiguous()
    taps_y, taps_x = f.shape
    left, top = padding[0] - taps_x + 1, padding[2] - taps_y + 1
    right = padding[1] - taps_x + 1 + (up[0] - 1)
    bottom = padding[3] - taps_y + 1 + (up[1] - 1)
    stride = (up[1], up[0])
    if left == right <= 0 and top == bottom <= 0:
        return F.conv_transpose2d(x, weight, stride=stride, padding=(-top, -left), groups=channels)
    full = F.conv_transpose2d(x, weight, stride=stride, groups=channels)
    return _pad(full, (left, right, top, bottom))


def _pad(x: Tensor, padding: Padding) -> Tensor:
    height, width = x.shape[2:]
    px0, px1, py0, py1 = padding
    if min(px0, px1) <= -width or min(py0, py1) <= -height:  # nothing of the image is left
        return x.new_zeros(*x.shape[:2], height + py0 + py1, width + px0 + px1) + x[..., :0].sum()
    return F.pad(x, list(padding))


def _insert_zeros(x: Tensor, up: Pair) -> Tensor:
    """[N, C, H, W] -> [N, C, H*up[1], W*up[0]]: every pixel is followed by ``up - 1`` zeros."""
    if up == (1, 1):
        return x
    n, c, h, w = x.shape
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    if last:
        spread = F.pad(x.permute(0, 2, 3, 1).reshape(n, h, 1, w, 1, c), [0, 0, 0, up[0] - 1, 0, 0, 0, up[1] - 1])
        return spread.reshape(n, h * up[1], w * up[0], c).permute(0, 3, 1, 2)
    spread = F.pad(x.reshape(n, c, h, 1, w, 1), [0, up[0] - 1, 0, 0, 0, up[1] - 1])
    return spread.reshape(n, c, h * up[1], w * up[0])
