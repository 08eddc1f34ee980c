"""Whole layers of StyleGAN2 with frozen weights: modulation, convolution, and all that follows, fused.

`styled_conv` is one registered operation with a gradient towards activations, styles and noise, but none towards the
weights: that is what inverting a photo needs. Where a graph of the gradient is wanted (path-length regularisation), or
no native kernels can be had, the same mathematics runs as a composition of registered operations.

On a GPU a layer may leave the modulation of the next one behind: its epilogue then writes the product of the result and
the next styles while both are in registers (`chained_conv`). On the CPU products are made while activations are read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from latentedit.cuda_ops import launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.epilogue import Epilogue, can_fuse
from latentedit.cuda_ops.fused_grad import styled_conv_backward
from latentedit.cuda_ops.fused_layer import run_layer
from latentedit.cuda_ops.fused_reference import (
    after_modulation,
    composed,
    modulated,
    modulation,
)
from latentedit.cuda_ops.modulation import bounded, demodulation, energy, tamed
from latentedit.cuda_ops.registration import register


class Chain(NamedTuple):
    """Activations on their way from layer to layer.

    Attributes:
        x: [N, C, H, W]; where only the product was wanted, that.
        product: ``x`` times the styles of the next layer, or None. It carries no gradient: that flows through ``x``.
    """

    x: Tensor
    product: Tensor | None = None


def styled_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    bias: Tensor,
    noise: Tensor | None = None,
    resample_filter: Tensor | None = None,
    up: int = 1,
    act: str = "lrelu",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Modulated and demodulated 3x3 convolution, noise, bias, activation (Karras et al. 2020, eqs. 1-3, figure 2c).

    Args:
        x: activations [N, I, H, W]; channels-last is the fast layout.
        weight: [O, I, 3, 3], float32, a constant here: no gradient flows into it.
        styles: [N, I] float32 scale of every input channel.
        bias: [O] float32, a constant here.
        noise: [N or 1, 1, H * up, W * up] float32 with its strength multiplied in, or None.
        resample_filter: low-pass filter after an up-convolution, as `setup_filter` makes it.
        up: 1, or 2 for a transposed convolution that doubles the resolution.
        act, alpha, gain, clamp: as in `bias_act`.

    Returns:
        [N, O, H * up, W * up] of the dtype of ``x``, under autocast of its dtype, channels-last; differentiable to any
        order in ``x``, ``styles`` and ``noise``.
    """
    spec = (act, alpha, gain, clamp)
    return chained_conv(Chain(x), weight, styles, noise, bias, resample_filter, up, *spec).x


def chained_conv(
    chain: Chain,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    resample_filter: Tensor | None,
    up: int,
    act: str,
    alpha: float | None,
    gain: float | None,
    clamp: float | None,
    *,
    following: Tensor | None = None,
    keep: bool = True,
) -> Chain:
    """`styled_conv` of what the layer before left behind, leaving behind what the next layer needs.

    Args:
        chain: activations [N, I, H, W], with their product with ``styles`` where that is there already.
        following: [N, O] float32 styles of the next layer: the result's ``product`` is made with them.
        keep: whether the result's ``x`` is wanted beside its ``product``; where gradients are, it is needed.

    The other arguments and the result are those of `styled_conv`.
    """
    default = ACTIVATIONS[act]
    spec = (
        act,
        default.alpha if alpha is None else float(alpha),
        default.gain if gain is None else float(gain),
        -1.0 if clamp is None else float(clamp),
    )
    keep = keep or following is None
    device = chain.x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        chain = Chain(chain.x.to(dtype), None if chain.product is None else chain.product.to(dtype))
        styles, following = styles.float(), None if following is None else following.float()
    tensors = (chain.x, weight, styles, noise, bias, resample_filter, chain.product, following)
    # Autocast chooses the dtype of the activations; the layer's own factors and its gradient know nothing of it.
    with torch.autocast(device, enabled=False):
        y, product = _styled_conv(*tensors, up, *spec, keep)
    return Chain(y, None if following is None else product) if keep else Chain(product, product)


def products_pay(x: Tensor) -> bool:
    """Whether `chained_conv` saves passes over memory for tensors like ``x``."""
    return x.device.type == "cuda"


def _forward(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    f: Tensor | None,
    product: Tensor | None,
    following: Tensor | None,
    up: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    spec = (act, alpha, gain, clamp)
    layout, nothing = torch.channels_last, x.new_empty(0)
    if not can_fuse(x):
        y = _separate(x, weight, styles, noise, bias, f, product, up, *spec).contiguous(memory_format=layout)
        return _with_product(y, following, keep)
    styles, scale = modulation(styles, weight, x.dtype)
    noise = None if noise is None else noise.float().contiguous()
    what = Epilogue(scale, noise, bias, *spec)
    size = (x.shape[0], weight.shape[0], x.shape[2] * up, x.shape[3] * up)
    if following is None or not launch.is_cuda(x):
        return _with_product(run_layer(x, product, weight, styles, f, up, what, size), following, keep)
    what = replace(what, post=bounded(following, x.dtype).float().contiguous())
    if not keep:
        return nothing, run_layer(x, product, weight, styles, f, up, what, size)
    after = launch.empty(size, x, layout=layout)
    return run_layer(x, product, weight, styles, f, up, replace(what, product=after), size), after


def _with_product(y: Tensor, following: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:
    nothing = y.new_empty(0)
    return y if keep else nothing, nothing if following is None else modulated(y, following)


def _separate(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    f: Tensor | None,
    product: Tensor | None,
    *rest: Any,
) -> Tensor:
    if product is None:
        return composed(x, weight, styles, noise, bias, f, *rest)
    weight = tamed(weight, x.dtype)
    scale = demodulation(bounded(styles, x.dtype), energy(weight))
    return after_modulation(product, weight, scale, noise, bias, f, *rest)


def _fake(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Any,
    bias: Tensor,
    f: Any,
    product: Any,
    following: Tensor | None,
    up: int,
    *rest: Any,
) -> tuple[Tensor, Tensor]:
    size = x.shape[0], weight.shape[0], x.shape[2] * up, x.shape[3] * up
    made = [
        torch.empty(*size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        if wanted
        else x.new_empty(0)
        for wanted in (rest[-1], following is not None)
    ]
    return made[0], made[1]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, styles, noise, bias, f, _, _, ctx.up, *spec, ctx.keep = inputs
    ctx.spec = tuple(spec)
    ctx.has = (noise is not None, f is not None)
    optional = [t for t in (noise, f) if t is not None]
    ctx.save_for_backward(x, weight, styles, bias, output[0], *optional)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    if not ctx.keep:
        raise RuntimeError("A layer of which only the product was kept has no gradient.")
    nothing = (None,) * 14
    if dy is None:
        return nothing
    x, weight, styles, bias, y, *optional = ctx.saved_tensors
    noise = optional.pop(0) if ctx.has[0] else None
    f = optional.pop(0) if ctx.has[1] else None
    need = (ctx.needs_input_grad[0], ctx.needs_input_grad[2], ctx.needs_input_grad[3])
    if torch.is_grad_enabled():
        y = composed(x, weight, styles, noise, bias, f, ctx.up, *ctx.spec)
        chosen = [t for t, needed in zip((x, styles, noise), need, strict=True) if needed and t is not None]
        found = iter(torch.autograd.grad(y, chosen, dy, create_graph=True))
        dx, dstyles, dnoise = (next(found) if needed else None for needed in need)
    else:
        want_noise = noise is not None and need[2]
        tensors = (dy, y, x, weight, styles, noise, bias, f)
        dx, dstyles, dnoise = styled_conv_backward(*tensors, ctx.up, *ctx.spec, want_noise)
        dnoise = dnoise if want_noise else None
    return dx, None, dstyles, dnoise, *nothing[4:]


_styled_conv = register(
    "styled_conv(Tensor x, Tensor weight, Tensor styles, Tensor? noise, Tensor bias, Tensor? f, Tensor? product, "
    "Tensor? following, int up, str act, float alpha, float gain, float clamp, bool keep) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _backward,
    _setup,
)
