"""The encoder's latent, then descent: on one w and on weights, or through W+ and noise."""

from __future__ import annotations

import pytest
import torch
from solving import solve

from latentedit.errors import LatentEditError
from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.methods.encoder import encode
from latentedit.inversion.methods.hybrid import METHOD
from latentedit.inversion.whitening import LatentSpace


@pytest.fixture(scope="module")
def inner(model):
    return LatentSpace.measure(model.generator).within()


def test_hybrid_seeks_one_w_that_the_mapping_network_could_give(model, targets, inner):
    targets = targets[:3]
    config = InversionConfig(steps=40, weight_share=0.5, judge_every=3)
    stages = []
    found = solve(model, targets, method="hybrid", config=config, callback=lambda event: stages.append(event.stage))
    assert stages == (["pivot"] * 20 + ["weights"] * 20) * 3
    assert found.noise == {}
    torch.testing.assert_close(found.ws, found.ws[:, :1].expand_as(found.ws))
    torch.testing.assert_close(inner.to_ws(inner.from_ws(found.ws)), found.ws, atol=1e-4, rtol=1e-4)
    base = encode(model.generator, model.encoder, targets).mean(dim=1, keepdim=True)
    start = inner.to_ws(inner.from_ws(base)).expand_as(found.ws)
    before, after = (pixel_loss(model.generator.synthesis(ws), targets) for ws in (start, found.ws))
    assert (after < before).all()


def test_the_pull_keeps_the_pivot_near_the_average_face(model, targets, inner):
    lengths = []
    for weight in (0.0, 10.0):
        config = InversionConfig(steps=60, weight_share=0, pivot_weight=weight)
        found = solve(model, targets[:3], method="hybrid", config=config)
        lengths.append(float(inner.from_ws(found.ws).square().mean()))
    assert lengths[1] < 0.7 * lengths[0]


@pytest.mark.parametrize(
    ("settings", "latents", "weights"),
    [({}, 40, 160), ({"pivot": "w+"}, 120, 80), ({"refine": "none"}, 200, 0), ({"weight_share": 0.5}, 100, 100)],
)
def test_steps_are_shared_between_latent_and_weights(settings, latents, weights):
    plan = METHOD.plan(InversionConfig(**settings))
    assert (plan.latent, plan.weights) == (latents, weights)
    with pytest.raises(LatentEditError, match=r"pivot is 'z'. Choose 'auto', 'w' or 'w\+'"):
        InversionConfig(pivot="z")  # pyright: ignore[reportArgumentType]
