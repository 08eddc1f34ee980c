"""The image branch of StyleGAN2: the 1x1 convolution to the image's channels, and the skip connection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import kernels, launch
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.resample import _upfirdn2d, adjoint


def to_image(x: Tensor, weight: Tensor) -> Tensor:
    """1x1 convolution with weights of every image's own: [N, I, H, W], [N, O, I] -> [N, O, H, W]; any-order gradients.

    As a matrix product that reads channels-last ``x`` as it lies and gives its gradient the same layout.
    """
    return _to_image(x, weight)


def _to_image_forward(x: Tensor, weight: Tensor) -> Tensor:
    y = torch.bmm(weight, x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2))
    return y.view(*y.shape[:2], *x.shape[2:])


def _to_image_fake(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1], *x.shape[2:])


def _to_image_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _to_image_backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    dy = dy.flatten(2)
    dx = torch.bmm(dy.transpose(1, 2), weight).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
    return dx, torch.bmm(dy, x.permute(0, 2, 3, 1).flatten(1, 2))


_to_image = register(
    "to_image(Tensor x, Tensor weight) -> Tensor",
    _to_image_forward,
    _to_image_fake,
    _to_image_backward,
    _to_image_setup,
)


def upsample_add(image: Tensor, f: Tensor | None, add: Tensor) -> Tensor:
    """``upsample2d(image, f) + add`` in one pass: the skip connection of the image branch (figure 7b).

    Args:
        image: [N, C, H, W].
        f: low-pass filter.
        add: [N, C, 2H, 2W] of the dtype of ``image``.
    """
    return _upsample_add(image, f, add)


def _upsample_numbers(f: Tensor | None) -> tuple[Any, ...]:
    taps = 1 if f is None else f.shape[-1]
    before, after = (taps + 1) // 2, (taps - 2) // 2
    return 2, 2, 1, 1, before, after, before, after, False, 4.0


def _upsample_add_forward(image: Tensor, f: Tensor | None, add: Tensor) -> Tensor:
    numbers = _upsample_numbers(f)
    how = kernels.Resampling((2, 2), (1, 1), numbers[4:8], False, 4.0, (image.shape[2] * 2, image.shape[3] * 2))
    y = kernels.upfirdn2d(image, f, how, add=add)
    return _upfirdn2d(image, f, *numbers) + add if y is None else y


def _upsample_add_fake(image: Tensor, f: Tensor | None, add: Tensor) -> Tensor:
    layout = launch.memory_format(image)
    return torch.empty(add.shape, dtype=image.dtype, device=image.device, memory_format=layout)


def _upsample_add_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, f, _ = inputs
    ctx.size = image.shape[2:]
    ctx.save_for_backward(*([] if f is None else [f]))


def _upsample_add_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    f = ctx.saved_tensors[0] if ctx.saved_tensors else None
    taps = 1 if f is None else f.shape[-1]
    return _upfirdn2d(dy, f, *adjoint(_upsample_numbers(f), ctx.size, dy.shape[2:], (taps, taps))), None, dy


_upsample_add = register(
    "upsample_add(Tensor image, Tensor? f, Tensor add) -> Tensor",
    _upsample_add_forward,
    _upsample_add_fake,
    _upsample_add_backward,
    _upsample_add_setup,
)
