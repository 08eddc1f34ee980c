"""`bias_act`: bias, activation, gain, and clamp in one pass over memory, with registered derivatives of any order."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from latentedit.cuda_ops import kernels, launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS, bias_act_reference
from latentedit.cuda_ops.native import require
from latentedit.cuda_ops.registration import register

Backend = Literal["auto", "native", "reference"]


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Add a bias, apply an activation, scale, and clamp: ``clip(act(x + b) * gain, -clamp, clamp)``.

    Args:
        x: any shape, any floating dtype.
        b: [x.shape[dim]] of the dtype of ``x``, or None.
        dim: the axis of ``x`` that ``b`` runs along.
        act: "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", or "swish".
        alpha: negative slope of "lrelu" (default 0.2).
        gain: factor after the activation (default sqrt(2) for relu, lrelu and swish, else 1).
        clamp: limit of the absolute value (default none).
        backend: "auto" | "native" | "reference".

    Returns:
        A tensor of the shape and dtype of ``x``; differentiable to any order in ``x`` and ``b``.

    Raises:
        ValueError: unknown activation or backend, or a bias that does not fit.
        BackendError: ``backend="native"`` where the kernels cannot be had.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"act={act!r} is unknown; choose one of {', '.join(ACTIVATIONS)}.")
    check_backend(backend, x)
    if b is not None and not (-x.ndim <= dim < x.ndim and list(b.shape) == [x.shape[dim]]):
        raise ValueError(f"b of shape {list(b.shape)} does not run along dim={dim} of x of shape {list(x.shape)}.")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp={clamp!r} is negative; use None for no limit.")
    default = ACTIVATIONS[act]
    spec = (
        act,
        default.alpha if alpha is None else float(alpha),
        default.gain if gain is None else float(gain),
        -1.0 if clamp is None else float(clamp),
    )
    if b is None:
        dim = 0
    dim = dim % max(x.ndim, 1)
    if spec == ("linear", 0.0, 1.0, -1.0) and b is None:
        return x
    if backend == "reference":
        return bias_act_reference(x, b, dim, *spec)
    return _bias_act(x, b, dim, *spec)


def check_backend(backend: str, x: Tensor) -> None:
    """Raise ValueError for an unknown backend, and BackendError where "native" cannot be had for ``x``."""
    if backend not in ("auto", "native", "reference"):
        raise ValueError(f'backend={backend!r} is unknown; choose "auto", "native", or "reference".')
    if backend == "native":
        require(x.device.type)


def keeps_output(act: str, alpha: float, gain: float) -> bool:
    """Whether the output alone tells the derivative, so that the input need not be kept for backward."""
    return ACTIVATIONS[act].piecewise_linear and alpha >= 0 and gain != 0


def _forward(x: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float) -> Tensor:
    y = kernels.bias_act(0, {"x": x}, b, dim, (act, alpha, gain, clamp))
    return _as_fake(bias_act_reference(x, b, dim, act, alpha, gain, clamp), x, dim) if y is None else y


def _fake(x: Tensor, b: Tensor | None, dim: int, *spec: Any) -> Tensor:
    layout = launch.memory_format(x) if dim == 1 else torch.contiguous_format
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _as_fake(result: Tensor, x: Tensor, dim: int) -> Tensor:
    """Lay a reference result out as the kernels would, in memory of its own."""
    result = result.contiguous(memory_format=launch.memory_format(x) if dim == 1 else torch.contiguous_format)
    return result.clone() if result.data_ptr() == x.data_ptr() else result


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, b, ctx.dim, *spec = inputs
    ctx.spec = tuple(spec)
    ctx.has_bias = b is not None
    if keeps_output(*ctx.spec[:3]):
        ctx.save_for_backward(output)
    else:
        ctx.save_for_backward(x, *([b] if ctx.has_bias else []))


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    ref, *rest = ctx.saved_tensors
    dx = _slope(dy, ref, rest[0] if rest else None, ctx.dim, *ctx.spec)
    return dx, _bias_grad(dx, ctx.dim) if ctx.has_bias and ctx.needs_input_grad[1] else None, *[None] * 5


def _bias_grad(dx: Tensor, dim: int) -> Tensor:
    axes = [i for i in range(dx.ndim) if i != dim]
    return dx.sum(dim=axes) if axes else dx


def _reference_slope(
    dy: Tensor, ref: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float
) -> Tensor:
    if keeps_output(act, alpha, gain):
        signed = ref if gain > 0 else -ref
        if act == "lrelu":
            dy = torch.where(signed > 0, dy, dy * alpha)
        elif act == "relu":
            dy = torch.where(signed > 0, dy, torch.zeros_like(dy))
        dx = dy * gain
        return torch.where(ref.abs() < clamp, dx, torch.zeros_like(dx)) if clamp >= 0 else dx
    return _reference_smooth(dy, _biased(ref, b, dim), (act, alpha, gain, clamp), order=1)


def _reference_smooth(factor: Tensor, u: Tensor, spec: tuple[Any, ...], order: int) -> Tensor:
    """``factor`` times the first or second derivative at the biased input ``u``; autograd is off inside operations."""
    act, alpha, gain, clamp = spec
    derivative = ACTIVATIONS[act].slope if order == 1 else ACTIVATIONS[act].curvature
    if derivative is None:  # piecewise linear, asked by its input because the output does not tell (negative alpha)
        if order == 2:
            return torch.zeros_like(u)
        slope = torch.where(u > 0, 1.0, alpha if act == "lrelu" else float(act == "linear")).to(u.dtype)
    else:
        slope = derivative(u)
    result = factor * slope * gain
    if clamp < 0:
        return result
    y = bias_act_reference(u, None, 0, act, alpha, gain, -1.0)
    return torch.where(y.abs() < clamp, result, torch.zeros_like(result))


def _biased(x: Tensor, b: Tensor | None, dim: int) -> Tensor:
    return x if b is None else x + b.reshape([-1 if i == dim else 1 for i in range(x.ndim)])


def _slope_forward(dy: Tensor, ref: Tensor, b: Tensor | None, dim: int, *spec: Any) -> Tensor:
    """``dy`` times the first derivative; ``ref`` is the output where `keeps_output`, else the input before ``b``."""
    known = keeps_output(*spec[:3])
    if known or not ACTIVATIONS[spec[0]].piecewise_linear:  # the kernels know no other reference of these
        inputs = {"y": ref, "dy": dy} if known else {"x": ref, "dy": dy}
        dx = kernels.bias_act(1, inputs, b, dim, spec)
        if dx is not None:
            return dx
    return _as_fake(_reference_slope(dy, ref, b, dim, *spec), ref, dim)


def _slope_fake(dy: Tensor, ref: Tensor, b: Tensor | None, dim: int, *spec: Any) -> Tensor:
    return _fake(ref, b, dim)


def _slope_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    dy, ref, b, ctx.dim, *spec = inputs
    ctx.spec = tuple(spec)
    ctx.has_bias = b is not None
    ctx.save_for_backward(dy, ref, *([b] if ctx.has_bias else []))


def _slope_backward(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    dy, ref, *rest = ctx.saved_tensors
    b = rest[0] if rest else None
    d_dy = _slope(v, ref, b, ctx.dim, *ctx.spec)
    if ACTIVATIONS[ctx.spec[0]].piecewise_linear:
        return d_dy, None, *[None] * 6
    dx = _curvature(v, dy, ref, b, ctx.dim, *ctx.spec)
    return d_dy, dx, _bias_grad(dx, ctx.dim) if b is not None else None, *[None] * 5


def _curvature_forward(v: Tensor, dy: Tensor, x: Tensor, b: Tensor | None, dim: int, *spec: Any) -> Tensor:
    """``v * dy`` times the second derivative."""
    dx = kernels.bias_act(2, {"x": x, "dy": dy, "v": v}, b, dim, spec)
    if dx is not None:
        return dx
    return _as_fake(_reference_smooth(v * dy, _biased(x, b, dim), spec, order=2), x, dim)


def _derivative(u: Tensor, factor: Tensor, dim: int, spec: tuple[Any, ...], order: int) -> Tensor:
    """``factor`` times the ``order``-th derivative of the elementwise reference at ``u``, with its graph."""
    value = bias_act_reference(u, None, dim, *spec)
    for left in range(order, 0, -1):
        if not value.requires_grad:
            return torch.zeros_like(u)
        weight = factor if left == 1 else torch.ones_like(value)
        (value,) = torch.autograd.grad(value, u, weight, create_graph=True)
    return value


def _curvature_fake(v: Tensor, dy: Tensor, x: Tensor, b: Tensor | None, dim: int, *spec: Any) -> Tensor:
    return _fake(x, b, dim)


def _curvature_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    v, dy, x, b, ctx.dim, *spec = inputs
    ctx.spec = tuple(spec)
    ctx.save_for_backward(v, dy, x, *([b] if b is not None else []))


def _curvature_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    v, dy, x, *rest = ctx.saved_tensors
    b = rest[0] if rest else None
    d_v = _curvature(g, dy, x, b, ctx.dim, *ctx.spec)
    d_dy = _curvature(v, g, x, b, ctx.dim, *ctx.spec)
    with torch.enable_grad():
        u = _biased(x, b, ctx.dim)
        u = u if u.requires_grad else u.detach().requires_grad_()
        dx = _derivative(u, g * v * dy, ctx.dim, ctx.spec, order=3)
    dx = dx if torch.is_grad_enabled() else dx.detach()
    return d_v, d_dy, dx, _bias_grad(dx, ctx.dim) if b is not None else None, *[None] * 5


_SPEC = "int dim, str act, float alpha, float gain, float clamp"
_bias_act = register(f"bias_act(Tensor x, Tensor? b, {_SPEC}) -> Tensor", _forward, _fake, _backward, _setup)
_slope = register(
    f"bias_act_slope(Tensor dy, Tensor ref, Tensor? b, {_SPEC}) -> Tensor",
    _slope_forward,
    _slope_fake,
    _slope_backward,
    _slope_setup,
)
_curvature = register(
    f"bias_act_curvature(Tensor v, Tensor dy, Tensor x, Tensor? b, {_SPEC}) -> Tensor",
    _curvature_forward,
    _curvature_fake,
    _curvature_backward,
    _curvature_setup,
)
