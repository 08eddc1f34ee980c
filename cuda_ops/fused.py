"""Whole layers of StyleGAN2 with frozen weights: modulation, convolution, and all that follows, fused.

`styled_conv` is one registered operation with a gradient towards activations, styles and noise, but none towards the
weights: that is what inverting a photo needs. Where a graph of the gradient is wanted (path-length regularisation), or
no native kernels can be had, the same mathematics runs as a composition of registered operations.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.cuda_ops import kernels
from latentedit.cuda_ops.activation import bias_act
from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.resample import _upfirdn2d, adjoint, upfirdn2d
from latentedit.cuda_ops.weights import prepared

EPS = 1e-8


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
        [N, O, H * up, W * up] of the dtype of ``x``, channels-last; differentiable to any order in ``x``, ``styles``
        and ``noise``.
    """
    default = ACTIVATIONS[act]
    spec = (
        act,
        default.alpha if alpha is None else float(alpha),
        default.gain if gain is None else float(gain),
        -1.0 if clamp is None else float(clamp),
    )
    return _styled_conv(x, weight, styles, noise, bias, resample_filter, up, *spec)


def _paddings(f: Tensor | None, up: int) -> tuple[int, int]:
    """Padding of the filter that follows a transposed 3x3 convolution of stride ``up``, so that sizes multiply."""
    taps = 1 if f is None else f.shape[-1]
    return 1 + (taps + up - 1) // 2 - 2, 1 + (taps - up) // 2 - (3 - up)


def _energy(weight: Tensor) -> Tensor:
    return weight.square().sum(dim=[2, 3])


def _composed(
    x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None, bias: Tensor, f: Tensor | None, up: int, *spec: Any
) -> Tensor:
    """The specification, of operations that are differentiable to any order."""
    act, alpha, gain, clamp = spec
    if x.dtype == torch.float16:
        # float16 overflows at 65504: bring weights and styles near 1, which demodulation undoes exactly.
        weight = _tame(weight)
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    scale = (styles.square() @ _energy(weight).t() + EPS).rsqrt()
    x = x * styles.to(x.dtype)[:, :, None, None]
    x = _convolve(x, weight.to(x.dtype), up)
    if up > 1:
        before, after = _paddings(f, up)
        x = upfirdn2d(x, f, padding=[before, after] * 2, gain=up**2)
    x = x * scale.to(x.dtype)[:, :, None, None]
    x = x if noise is None else x + noise.to(x.dtype)
    return bias_act(x, bias.to(x.dtype), act=act, alpha=alpha, gain=gain, clamp=None if clamp < 0 else clamp)


def _tame(weight: Tensor) -> Tensor:
    return weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=[1, 2, 3], keepdim=True))


def _convolve(x: Tensor, weight: Tensor, up: int) -> Tensor:
    if up == 1:
        return F.conv2d(x, weight, padding=1)
    return F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)


def _convolve_back(g: Tensor, weight: Tensor, up: int) -> Tensor:
    if up == 1:
        return F.conv_transpose2d(g, weight, padding=1)
    return F.conv2d(g, weight.transpose(0, 1), stride=up)


def _modulation(styles: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Factors of the input channels [N, I] and of the output channels [N, O]; for float16 both near 1."""
    if dtype == torch.float16:
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
        energy = prepared(weight, "tame energy", lambda w: _energy(_tame(w)))
    else:
        energy = prepared(weight, "energy", _energy)
    return styles, (styles.square() @ energy.t() + EPS).rsqrt()


def _typed(weight: Tensor, dtype: torch.dtype, up: int) -> Tensor:
    """Weights in the dtype of the activations and channels-last in the order that `_convolve` wants; float16 tamed."""

    def make(w: Tensor) -> Tensor:
        w = _tame(w) if dtype == torch.float16 else w
        w = w.to(dtype) if up == 1 else w.to(dtype).transpose(0, 1)
        return w.contiguous(memory_format=torch.channels_last)

    prepared_weight = prepared(weight, f"{dtype} {up}", make)
    return prepared_weight if up == 1 else prepared_weight.transpose(0, 1)


def _forward(
    x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None, bias: Tensor, f: Tensor | None, up: int, *spec: Any
) -> Tensor:
    act, alpha, gain, clamp = spec
    if not kernels.can_fuse(x, act):
        y = _composed(x, weight, styles, noise, bias, f, up, *spec)
        return y.contiguous(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    styles, scale = _modulation(styles, weight, x.dtype)
    noise = None if noise is None else noise.float().contiguous()
    epilogue = kernels.Epilogue(scale, noise, bias, None, act, alpha, gain, clamp)
    if up == 1:
        y = kernels.winograd(x, weight, styles, epilogue)
        if y is not None:
            return y
    if up == 1:
        y = _convolve(x * styles.to(x.dtype)[:, :, None, None], _typed(weight, x.dtype, up), up)
        result = kernels.epilogue(y.contiguous(memory_format=torch.channels_last), epilogue, inplace=True)
        assert result is not None
        return result
    return _up_layer(x, weight, styles, f, up, epilogue)


def _up_layer(
    x: Tensor, weight: Tensor, styles: Tensor, f: Tensor | None, up: int, epilogue: kernels.Epilogue
) -> Tensor:
    """Transposed convolution, then filter and epilogue in one pass."""
    before, after = _paddings(f, up)
    size = (x.shape[2] * up, x.shape[3] * up)
    how = kernels.Resampling((1, 1), (1, 1), (before, after, before, after), False, float(up**2), size)
    layout = torch.channels_last
    out = torch.empty(x.shape[0], weight.shape[0], *size, dtype=x.dtype, device=x.device, memory_format=layout)
    # On the CPU image by image: what stays in the cache, and within what malloc keeps, costs no page faults.
    step = 1 if x.device.type == "cpu" else max(x.shape[0], 1)
    for i in range(0, x.shape[0], step):
        part = slice(i, i + step)
        y = _convolve(x[part] * styles[part].to(x.dtype)[:, :, None, None], _typed(weight, x.dtype, up), up)
        chosen = epilogue.of(i) if step == 1 else epilogue
        done = kernels.upfirdn2d(y.contiguous(memory_format=layout), f, how, epilogue=chosen, out=out[part])
        assert done is not None
    return out


def _fake(x: Tensor, weight: Tensor, styles: Tensor, noise: Any, bias: Tensor, f: Any, up: int, *spec: Any) -> Tensor:
    size = x.shape[0], weight.shape[0], x.shape[2] * up, x.shape[3] * up
    return torch.empty(*size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, styles, noise, bias, f, ctx.up, *spec = inputs
    ctx.spec = tuple(spec)
    ctx.has = (noise is not None, f is not None)
    optional = [t for t in (noise, f) if t is not None]
    ctx.save_for_backward(x, weight, styles, bias, output, *optional)


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, weight, styles, bias, y, *optional = ctx.saved_tensors
    noise = optional.pop(0) if ctx.has[0] else None
    f = optional.pop(0) if ctx.has[1] else None
    wants = [x, styles, noise]
    need = (ctx.needs_input_grad[0], ctx.needs_input_grad[2], ctx.needs_input_grad[3])
    if torch.is_grad_enabled():
        y = _composed(x, weight, styles, noise, bias, f, ctx.up, *ctx.spec)
        chosen = [t for t, needed in zip(wants, need, strict=True) if needed]
        found = iter(torch.autograd.grad(y, chosen, dy, create_graph=True))
        dx, dstyles, dnoise = (next(found) if needed else None for needed in need)
    else:
        dx, dstyles, dnoise = _styled_conv_backward(
            dy, y, x, weight, styles, noise, bias, f, ctx.up, *ctx.spec, noise is not None and need[2]
        )
        dnoise = dnoise if noise is not None and need[2] else None
    return dx, None, dstyles, dnoise, None, None, *[None] * 5


def _backward_forward(
    dy: Tensor,
    y: Tensor,
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    f: Tensor | None,
    up: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    want_noise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dstyles, dnoise); dnoise is empty unless wanted. ``y`` gives both the slope and the convolution's result."""
    spec = (act, alpha, gain, clamp)
    simple = act == "linear" or (act == "lrelu" and alpha > 0)
    if not (simple and gain > 0 and kernels.can_fuse(x, act)):
        return _backward_composed(dy, x, weight, styles, noise, bias, f, up, spec, want_noise)
    with torch.enable_grad():
        leaf = styles.detach().requires_grad_()
        factors = _modulation(leaf, weight, x.dtype)
    scale = factors[1].detach()
    constant = None if noise is None else noise.float().contiguous()
    epilogue = kernels.Epilogue(scale, constant, bias, None, *spec)
    found = kernels.epilogue_grad(dy, y, epilogue, want_noise=want_noise)
    assert found is not None
    g, dscale, dnoise = found
    if up > 1:
        before, after = _paddings(f, up)
        taps = 1 if f is None else f.shape[-1]
        middle = [(s - 1) * up + 3 for s in x.shape[2:]]
        numbers = (1, 1, 1, 1, before, after, before, after, False, float(up**2))
        g = _upfirdn2d(g, f, *adjoint(numbers, middle, g.shape[2:], (taps, taps)))
    dx = kernels.winograd(g, weight, None, None, backward=True) if up == 1 else None
    if dx is None:
        dx = _convolve_back(g, _typed(weight, x.dtype, up), up)
    modulation = kernels.modulation_grad(dx, x, factors[0].detach())
    assert modulation is not None
    dx, direct = modulation
    (dstyles,) = torch.autograd.grad(factors, leaf, (direct, dscale))
    if dnoise is not None and noise is not None and noise.shape[0] == 1:
        dnoise = dnoise.sum(dim=0, keepdim=True)
    return dx, dstyles, styles.new_empty(0) if dnoise is None else dnoise


def _backward_composed(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    f: Tensor | None,
    up: int,
    spec: tuple[Any, ...],
    want_noise: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, styles, noise) if t is not None]
        rest = leaves[2] if noise is not None else None
        y = _composed(leaves[0], weight, leaves[1], rest, bias, f, up, *spec)
        dx, dstyles, *dnoise = torch.autograd.grad(y, leaves if want_noise else leaves[:2], dy)
    dx = dx.contiguous(memory_format=torch.channels_last)
    return dx, dstyles, dnoise[0] if dnoise else styles.new_empty(0)


def _backward_fake(
    dy: Tensor, y: Tensor, x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    want_noise = rest[-1]
    dnoise = styles.new_empty(noise.shape) if want_noise and noise is not None else styles.new_empty(0)
    return dx, torch.empty_like(styles), dnoise


_SPEC = "int up, str act, float alpha, float gain, float clamp"
_TENSORS = "Tensor x, Tensor weight, Tensor styles, Tensor? noise, Tensor bias, Tensor? f"
_styled_conv = register(f"styled_conv({_TENSORS}, {_SPEC}) -> Tensor", _forward, _fake, _backward, _setup)
_styled_conv_backward = register(
    f"styled_conv_backward(Tensor dy, Tensor y, {_TENSORS}, {_SPEC}, bool want_noise) -> (Tensor, Tensor, Tensor)",
    _backward_forward,
    _backward_fake,
)


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
    layout = kernels.memory_format(image)
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
