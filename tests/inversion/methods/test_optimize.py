"""Descent from the average face: one w for all layers first, then layers apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from solving import solve

from latentedit.inversion import InversionConfig
from latentedit.inversion.methods.encoder import encode
from latentedit.inversion.methods.optimize import METHOD
from latentedit.inversion.whitening import LatentSpace

CONFIG = InversionConfig(steps=24, judge_every=3, learning_rate=0.1, patience=0, refine="none")


def test_optimize_moves_one_w_first_and_layers_apart_later(model, targets):
    stages = []
    config = replace(CONFIG, w_share=0.5)
    solution = solve(
        model, targets[:1], method="optimize", config=config,
        callback=lambda event: stages.append((event.step, event.stage)),
    )  # fmt: skip
    assert stages == [(step, "w" if step <= 12 else "w+") for step in range(1, 25)]
    only_w = solve(model, targets[:1], method="optimize", config=replace(CONFIG, w_share=1))
    torch.testing.assert_close(only_w.ws, only_w.ws[:, :1].expand_as(only_w.ws))
    assert (solution.ws - solution.ws[:, :1]).abs().max() > 1e-3


def test_the_pull_towards_w_keeps_layers_together(model, targets):
    space = LatentSpace.measure(model.generator)
    spreads = []
    for weight in (0.0, 1.0):
        config = replace(CONFIG, steps=60, spread_weight=weight)
        u = space.from_ws(solve(model, targets[:3], method="optimize", config=config).ws)
        spreads.append(float((u - u.mean(dim=1, keepdim=True)).square().mean()))
    assert spreads[1] < 0.2 * spreads[0]


def test_optimize_starts_from_the_encoder_where_asked(model, targets):
    config = replace(CONFIG, steps=0, start="encoder")
    found = solve(model, targets[:3], method="optimize", config=config)
    expected = encode(model.generator, model.encoder, targets[:3]).mean(dim=1, keepdim=True).expand_as(found.ws)
    torch.testing.assert_close(found.ws, expected, rtol=1e-3, atol=1e-4)
    average = solve(model, targets[:1], method="optimize", config=replace(CONFIG, steps=0))
    torch.testing.assert_close(average.ws[0, 0], model.generator.mapping.w_avg)


def test_the_seed_decides_the_jitter_of_each_photo(model, targets):
    runs = [
        solve(model, targets[:1].repeat(2, 1, 1, 1), method="optimize", config=CONFIG, seeds=seeds).ws
        for seeds in ((0, 0), (0, 7), (0, 7))
    ]
    assert torch.equal(runs[0][0], runs[0][1])
    assert torch.equal(runs[1], runs[2])
    assert (runs[1][0] - runs[1][1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "latent", "weights"),
    [({}, 500, 0), ({"refine": "weights"}, 300, 200), ({"refine": "weights", "weight_share": 0.1}, 450, 50)],
)
def test_weights_are_refined_only_where_asked(settings, latent, weights):
    plan = METHOD.plan(InversionConfig(**settings))
    assert (plan.latent, plan.weights) == (latent, weights)
