"""Penalties against closed forms of linear networks."""

from __future__ import annotations

import math

import torch
from torch import nn

from latentedit.training.generator.penalties import PathLengthPenalty, discriminator_loss, generator_loss, r1_penalty


def test_logistic_losses_at_zero_logits() -> None:
    zero = torch.zeros(4, 1)
    assert math.isclose(float(generator_loss(zero)), math.log(2), rel_tol=1e-6)
    assert math.isclose(float(discriminator_loss(zero, zero)), 2 * math.log(2), rel_tol=1e-6)


def test_r1_of_a_linear_judge_is_its_squared_norm() -> None:
    judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1))
    penalty = r1_penalty(judge, torch.randn(5, 3, 4, 4))
    assert torch.allclose(penalty, judge[1].weight.square().sum(), rtol=1e-5)
    penalty.backward()
    assert torch.allclose(judge[1].weight.grad, 2 * judge[1].weight, rtol=1e-5)


def test_path_length_of_a_scaling_is_constant() -> None:
    torch.manual_seed(0)
    ws = torch.randn(64, 1, 3 * 16 * 16, requires_grad=True)
    images = (2.0 * ws).reshape(64, 3, 16, 16)
    penalty = PathLengthPenalty(decay=1.0)
    value = penalty(images, ws)
    # |J^T y| = 2 |y|, and |y| has mean sqrt(3) for y ~ N(0, 1) / 16 per pixel.
    assert math.isclose(float(penalty.mean_length), 2 * math.sqrt(3), rel_tol=0.02)
    assert float(value) < 0.05
