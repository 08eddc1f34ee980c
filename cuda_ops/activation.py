"""`bias_act`: bias, activation, gain, and clamp in one pass over memory."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from latentedit.cuda_ops.activation_reference import ACTIVATIONS, bias_act_reference

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
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"act={act!r} is unknown; choose one of {', '.join(ACTIVATIONS)}.")
    if backend not in ("auto", "native", "reference"):
        raise ValueError(f'backend={backend!r} is unknown; choose "auto", "native", or "reference".')
    if b is not None and not (-x.ndim <= dim < x.ndim and list(b.shape) == [x.shape[dim]]):
        raise ValueError(f"b of shape {list(b.shape)} does not run along dim={dim} of x of shape {list(x.shape)}.")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp={clamp!r} is negative; use None for no limit.")
    spec = ACTIVATIONS[act]
    return bias_act_reference(
        x,
        b,
        dim % max(x.ndim, 1),
        act,
        spec.alpha if alpha is None else float(alpha),
        spec.gain if gain is None else float(gain),
        -1.0 if clamp is None else float(clamp),
    )
