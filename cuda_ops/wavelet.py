"""Whole blocks of MobileStyleGAN with frozen convolutions: wavelet step and two styled separable layers, fused.

`wavelet_block` and `wavelet_image` are one registered operation each, with gradients towards activations, styles, noise
and pointwise weights, but none towards depthwise weights and biases: that is what inverting a photo and refining the
generator for it need. Where those learn, where a graph of the gradient is wanted, or where no native kernels can be
had, the same mathematics runs as the composition in `latentedit.cuda_ops.wavelet_reference`.

Legend: ``N`` images, ``I``/``O`` channels after the wavelet step and of the result, ``H, W`` pixels of the result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from latentedit.cuda_ops import wavelet_native
from latentedit.cuda_ops.activation import Backend, check_backend
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.wavelet_grad import wavelet_block_backward
from latentedit.cuda_ops.wavelet_reference import cell_weights, composed, image_cells


class Separable(NamedTuple):
    """A styled separable layer.

    Attributes:
        styles: [N,C], scale of the channels that are convolved.
        depthwise: [C,1,3,3].
        weight: [O,C], pointwise.
        bias: [O].
        noise: broadcastable to [N,1,H,W], its strength multiplied in, or None.
    """

    styles: Tensor
    depthwise: Tensor
    weight: Tensor
    bias: Tensor
    noise: Tensor | None


class ImageLayer(NamedTuple):
    """The layer to the wavelet coefficients of the picture: ``weight`` [4c,C], ``bias`` [4c], ``styles`` [N,C]."""

    weight: Tensor
    bias: Tensor
    styles: Tensor


def wavelet_block(
    x: Tensor,
    up_styles: Tensor,
    first: Separable,
    second: Separable,
    image: ImageLayer | None = None,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Wavelet step, then two styled separable layers with leaky ReLU 0.2 (Belousov 2021, section 3).

    Args:
        x: [N,4I,H/2,W/2]; channels-last is the fast layout. The order of its channels is that of `haar_cells`.
        up_styles: [N,4I], scale of the wavelet coefficients.
        first: layer of I channels to O.
        second: layer of O channels to O.
        image: the layer that ends the network, whose picture is then the result.
        backend: "auto" | "native" | "reference".

    Returns:
        [N,O,H,W], channels-last, or the picture [N,c,2H,2W], under autocast of its dtype; differentiable to any order.

    Raises:
        ValueError: an unknown backend.
        BackendError: ``backend="native"`` where the kernels cannot be had.
    """
    check_backend(backend, x)
    size = (2 * x.shape[2], 2 * x.shape[3])
    noise = [None if t is None else t.expand(*t.shape[:-2], *size).reshape(-1, 1, *size) for t in (first[4], second[4])]
    cells: tuple[Tensor | None, Tensor | None] = (None, None)
    if image is not None:
        cells = cell_weights(image.weight, image.bias, image.styles)
    pairs = [(first.styles, second.styles), *zip(first[1:4], second[1:4], strict=True), noise]
    tensors = (x, up_styles, *(t for pair in pairs for t in pair), *cells)
    constants = (first.depthwise, second.depthwise, first.bias, second.bias, cells[1])
    learning = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in constants)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        tensors = tuple(None if t is None else t.to(dtype) for t in tensors)
    with torch.autocast(x.device.type, enabled=False):
        return composed(*tensors) if backend == "reference" or learning else _wavelet_block(*tensors)


def wavelet_image(x: Tensor, image: ImageLayer) -> Tensor:
    """The picture [N,c,2H,2W], contiguous, of features ``x`` [N,C,H,W]."""
    return image_cells(x, *cell_weights(image.weight, image.bias, image.styles))


def _forward(*tensors: Any) -> Tensor:
    if wavelet_native.serves(*tensors):
        return wavelet_native.forward(tensors)
    return composed(*tensors)


def _fake(x: Tensor, *rest: Any) -> Tensor:
    n, height, width = x.shape[0], 2 * x.shape[2], 2 * x.shape[3]
    weight, head = rest[5], rest[11]
    if head is not None:
        return x.new_empty(n, head.shape[1] // 4, 2 * height, 2 * width)
    size = (n, weight.shape[0], height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    """Beside the arguments, the result is kept, which the next block keeps anyway; but no image."""
    kept = (None if inputs[-1] is not None else output, *inputs)
    ctx.present = [t is not None for t in kept]
    ctx.save_for_backward(*(t for t in kept if t is not None))


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    saved = iter(ctx.saved_tensors)
    y, *tensors = [next(saved) if present else None for present in ctx.present]
    need = [n and t is not None for n, t in zip(ctx.needs_input_grad, tensors, strict=True)]
    if torch.is_grad_enabled():
        chosen = [t for t, n in zip(tensors, need, strict=True) if n and t is not None]
        found = torch.autograd.grad(composed(*tensors), chosen, dy, create_graph=True)
    else:
        found = wavelet_block_backward(dy, y, *tensors, sum(n << i for i, n in enumerate(need)))
    gradients = iter(found)
    return tuple(next(gradients) if n else None for n in need)


_wavelet_block = register(
    "wavelet_block(Tensor x, Tensor up, Tensor styles1, Tensor styles2, Tensor depthwise1, Tensor depthwise2, "
    "Tensor weight1, Tensor weight2, Tensor bias1, Tensor bias2, Tensor? noise1, Tensor? noise2, Tensor? head, "
    "Tensor? head_bias) -> Tensor",
    _forward,
    _fake,
    _backward,
    _setup,
)
