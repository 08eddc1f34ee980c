"""The gradient of `styled_conv` towards activations, styles and noise: two fused passes and one convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops.epilogue import Epilogue, can_fuse, epilogue_grad, modulation_grad
from latentedit.cuda_ops.fused_reference import composed, convolve_back, modulation, paddings, typed
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.resample import _upfirdn2d, adjoint
from latentedit.cuda_ops.winograd import winograd


def _forward(
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
    if not (simple and gain > 0 and can_fuse(x)):
        return _composed(dy, x, weight, styles, noise, bias, f, up, spec, want_noise)
    with torch.enable_grad():
        leaf = styles.detach().requires_grad_()
        factors = modulation(leaf, weight, x.dtype)
    scale = factors[1].detach()
    constant = None if noise is None else noise.float().contiguous()
    epilogue = Epilogue(scale, constant, bias, *spec)
    found = epilogue_grad(dy, y, epilogue, want_noise=want_noise)
    assert found is not None
    g, dscale, dnoise = found
    if up > 1:
        before, after = paddings(f, up)
        taps = 1 if f is None else f.shape[-1]
        middle = [(s - 1) * up + 3 for s in x.shape[2:]]
        numbers = (1, 1, 1, 1, before, after, before, after, False, float(up**2))
        g = _upfirdn2d(g, f, *adjoint(numbers, middle, g.shape[2:], (taps, taps)))
    dx = winograd(g, weight, None, None, backward=True) if up == 1 else None
    if dx is None:
        dx = convolve_back(g, typed(weight, x.dtype, up), up)
    found_dx = modulation_grad(dx, x, factors[0].detach())
    assert found_dx is not None
    dx, direct = found_dx
    (dstyles,) = torch.autograd.grad(factors, leaf, (direct, dscale))
    if dnoise is not None and noise is not None and noise.shape[0] == 1:
        dnoise = dnoise.sum(dim=0, keepdim=True)
    return dx, dstyles, styles.new_empty(0) if dnoise is None else dnoise


def _composed(
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
        y = composed(leaves[0], weight, leaves[1], rest, bias, f, up, *spec)
        dx, dstyles, *dnoise = torch.autograd.grad(y, leaves if want_noise else leaves[:2], dy)
    dx = dx.contiguous(memory_format=torch.channels_last)
    return dx, dstyles, dnoise[0] if dnoise else styles.new_empty(0)


def _fake(
    dy: Tensor, y: Tensor, x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    want_noise = rest[-1]
    dnoise = styles.new_empty(noise.shape) if want_noise and noise is not None else styles.new_empty(0)
    return dx, torch.empty_like(styles), dnoise


styled_conv_backward = register(
    "styled_conv_backward(Tensor dy, Tensor y, Tensor x, Tensor weight, Tensor styles, Tensor? noise, Tensor bias, "
    "Tensor? f, int up, str act, float alpha, float gain, float clamp, bool want_noise) -> (Tensor, Tensor, Tensor)",
    _forward,
    _fake,
)
