"""Descent on latents and noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from solving import solve

from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss

CONFIG = InversionConfig(steps=60, judge_every=3, learning_rate=0.1, patience=0, refine="none", noise_learning_rate=0.1)


def test_noise_is_optimised_kept_and_white(model, targets):
    targets = targets[:3]
    with_noise = solve(model, targets, method="hybrid", config=CONFIG)
    without = solve(model, targets, method="hybrid", config=replace(CONFIG, optimize_noise=False))
    assert without.noise == {}
    assert set(with_noise.noise) == set(model.generator.synthesis.noise_shapes)
    losses = [
        pixel_loss(model.generator.synthesis(s.ws, noise=s.noise or None), targets) for s in (with_noise, without)
    ]
    assert losses[0].mean() < losses[1].mean()
    for value in with_noise.noise.values():
        torch.testing.assert_close(value.square().mean(dim=(2, 3)), torch.ones(3, 1), atol=1e-3, rtol=0)
    stored = model.generator.synthesis.b16.conv1.noise_const
    assert (with_noise.noise["b16.conv1"] - stored).abs().amax(dim=(1, 2, 3)).min() > 0.05
