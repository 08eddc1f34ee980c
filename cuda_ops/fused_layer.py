"""The forward pass of a frozen layer through the kernels: the convolution in its best form, and the epilogue."""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.cuda_ops import kernels, launch
from latentedit.cuda_ops.epilogue import Epilogue, apply_epilogue
from latentedit.cuda_ops.fused_reference import convolve, paddings, typed
from latentedit.cuda_ops.winograd import winograd


def run_layer(
    x: Tensor,
    product: Tensor | None,
    weight: Tensor,
    styles: Tensor,
    f: Tensor | None,
    up: int,
    what: Epilogue,
    size: tuple[int, ...],
) -> Tensor:
    """Convolution with a fused epilogue; ``styles`` are bounded."""
    factors = styles if product is None else None
    given = (x if product is None else product).contiguous(memory_format=torch.channels_last)
    if up > 1:
        return _up_layer(given, weight, factors, f, up, what, size)
    y = winograd(given, weight, factors, what)
    if y is None:
        y = apply_epilogue(_convolved(given, weight, factors, up), what, inplace=True)
    assert y is not None
    return y


def _up_layer(
    x: Tensor,
    weight: Tensor,
    factors: Tensor | None,
    f: Tensor | None,
    up: int,
    what: Epilogue,
    size: tuple[int, ...],
) -> Tensor:
    """Transposed convolution, then filter and epilogue in one pass.

    The polyphase form, four 3x3 convolutions of the input by Winograd's algorithm, took 0.99 to 1.4 times as long on a
    CPU for 512 to 64 channels at 16 to 128 px, before its phases are interleaved.
    """
    before, after = paddings(f, up)
    how = kernels.Resampling((1, 1), (1, 1), (before, after, before, after), False, float(up**2), (size[2], size[3]))
    out = launch.empty(size, x, layout=torch.channels_last)
    # On the CPU image by image: what stays in the cache, and within what malloc keeps, costs no page faults.
    step = 1 if x.device.type == "cpu" else max(x.shape[0], 1)
    for i in range(0, x.shape[0], step):
        part = slice(i, i + step)
        y = _convolved(x[part], weight, None if factors is None else factors[part], up)
        chosen = what.of(i) if step == 1 else what
        done = kernels.upfirdn2d(y, f, how, epilogue=chosen, out=out[part])
        assert done is not None
    return out


def _convolved(x: Tensor, weight: Tensor, factors: Tensor | None, up: int) -> Tensor:
    x = x if factors is None else x * factors.to(x.dtype)[:, :, None, None]
    return convolve(x, typed(weight, x.dtype, up), up).contiguous(memory_format=torch.channels_last)
