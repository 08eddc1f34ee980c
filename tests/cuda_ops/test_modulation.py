"""The mathematics of modulated convolutions: rows of zeros, float16's range, and one function for all that use it."""

from __future__ import annotations

import pytest
import torch

from latentedit.cuda_ops import bias_act, setup_filter, styled_conv
from latentedit.cuda_ops.activation_reference import ACTIVATIONS, default_gain
from latentedit.cuda_ops.modulation import bounded, demodulation, energy, tamed
from latentedit.networks.layers import modulated_conv2d


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("up", [1, 2])
def test_a_row_of_zero_styles_gives_the_bias_alone(dtype: torch.dtype, up: int) -> None:
    """A layer that learns and a frozen one agree, and neither divides zero by zero."""
    x, weight = torch.randn(2, 6, 8, 8).to(dtype), torch.randn(4, 6, 3, 3)
    weight[1] = 0
    styles, bias = torch.stack([torch.zeros(6), torch.randn(6)]), torch.randn(4)
    f = setup_filter([1, 3, 3, 1])
    learning = modulated_conv2d(x, weight, styles, up=up, padding=1, resample_filter=f, flip_weight=up == 1)
    learning = bias_act(learning, bias.to(dtype), act="lrelu")
    frozen = styled_conv(x, weight, styles, bias=bias, up=up, resample_filter=f)
    expected = torch.nn.functional.leaky_relu(bias, 0.2)[:, None, None] * 2**0.5
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (learning[0].float() - expected).abs().max() < tolerance
    torch.testing.assert_close(learning.float(), frozen.float(), atol=tolerance, rtol=tolerance)


def test_demodulation_undoes_the_guard_of_float16() -> None:
    weight, styles = torch.randn(5, 7, 3, 3, dtype=torch.float64) * 1e4, torch.randn(3, 7, dtype=torch.float64) * 1e4
    near, small = tamed(weight, torch.float16), bounded(styles, torch.float16)
    assert small.abs().max() <= 1
    assert near.flatten(1).norm(dim=1).max() <= 1

    def modulated_weights(w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return w * s[:, None, :, None, None] * demodulation(s, energy(w))[:, :, None, None, None]

    expected = modulated_weights(weight, styles)
    torch.testing.assert_close(expected.square().sum(dim=(2, 3, 4)), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(modulated_weights(near, small), expected, rtol=1e-4, atol=1e-6)  # eq. 3's epsilon


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_default_gain_is_what_bias_act_applies(act: str) -> None:
    x = torch.randn(50)
    torch.testing.assert_close(bias_act(x, act=act), bias_act(x, act=act, gain=default_gain(act)))
    assert default_gain(act) == (2**0.5 if act in ("relu", "lrelu", "swish") else 1)
