"""The specification of `bias_act` in plain PyTorch: nine activations, their gains, first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """One activation ``f(x, alpha)``.

    Attributes:
        index: number of the activation in the kernels.
        alpha: default of the shape parameter (only leaky ReLU has one).
        gain: default gain, which keeps the variance of a unit Gaussian roughly as it is.
        function: ``f``, differentiable by autograd to any order.
        piecewise_linear: the second derivative is zero, and the output tells the first.
        slope: first derivative at x of those that are not piecewise linear.
        curvature: their second derivative.
    """

    index: int
    alpha: float
    gain: float
    function: Callable[[Tensor, float], Tensor]
    piecewise_linear: bool = False
    slope: Callable[[Tensor], Tensor] | None = None
    curvature: Callable[[Tensor], Tensor] | None = None


def _tanh_slope(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x).square()


def _tanh_curvature(x: Tensor) -> Tensor:
    return -2 * torch.tanh(x) * _tanh_slope(x)


def _sigmoid_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _sigmoid_curvature(x: Tensor) -> Tensor:
    return _sigmoid_slope(x) * (1 - 2 * torch.sigmoid(x))


def _elu_slope(x: Tensor, alpha: float = 1.0, scale: float = 1.0) -> Tensor:
    return torch.where(x > 0, torch.full_like(x, scale), (alpha * scale) * x.clamp(max=0).exp())


def _elu_curvature(x: Tensor, alpha: float = 1.0, scale: float = 1.0) -> Tensor:
    return torch.where(x > 0, torch.zeros_like(x), (alpha * scale) * x.clamp(max=0).exp())


def _swish_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


def _swish_curvature(x: Tensor) -> Tensor:
    return _sigmoid_slope(x) * (2 + x * (1 - 2 * torch.sigmoid(x)))


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(0, 0.0, 1.0, lambda x, alpha: x, piecewise_linear=True),
    "relu": Activation(1, 0.0, sqrt(2), lambda x, alpha: F.relu(x), piecewise_linear=True),
    "lrelu": Activation(2, 0.2, sqrt(2), F.leaky_relu, piecewise_linear=True),
    "tanh": Activation(3, 0.0, 1.0, lambda x, alpha: torch.tanh(x), False, _tanh_slope, _tanh_curvature),
    "sigmoid": Activation(4, 0.0, 1.0, lambda x, alpha: torch.sigmoid(x), False, _sigmoid_slope, _sigmoid_curvature),
    "elu": Activation(5, 0.0, 1.0, lambda x, alpha: F.elu(x), False, _elu_slope, _elu_curvature),
    "selu": Activation(
        6,
        0.0,
        1.0,
        lambda x, alpha: F.selu(x),
        False,
        lambda x: _elu_slope(x, SELU_ALPHA, SELU_SCALE),
        lambda x: _elu_curvature(x, SELU_ALPHA, SELU_SCALE),
    ),
    "softplus": Activation(7, 0.0, 1.0, lambda x, alpha: F.softplus(x), False, torch.sigmoid, _sigmoid_slope),
    "swish": Activation(8, 0.0, sqrt(2), lambda x, alpha: torch.sigmoid(x) * x, False, _swish_slope, _swish_curvature),
}


def default_gain(act: str) -> float:
    """The gain that `bias_act` applies after ``act`` unless another is given."""
    return ACTIVATIONS[act].gain


def bias_act_reference(
    x: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float
) -> Tensor:
    """``clip(act(x + b) * gain, -clamp, clamp)``; a negative ``clamp`` means none. Differentiable to any order."""
    if b is not None:
        x = x + b.reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    x = ACTIVATIONS[act].function(x, alpha)
    if gain != 1:
        x = x * gain
    if clamp >= 0:
        x = x.clamp(-clamp, clamp)
    return x
