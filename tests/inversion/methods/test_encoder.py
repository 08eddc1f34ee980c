"""One pass, feedback, and the loop of an encoder that was made to correct itself."""

from __future__ import annotations

import pytest
import torch
from solving import solve

from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.methods.encoder import METHOD, encode
from latentedit.networks import Encoder


def test_the_encoder_alone_is_one_pass(model, targets):
    solution = solve(model, targets, method="encoder", config=InversionConfig())
    torch.testing.assert_close(solution.ws, model.encoder(targets), rtol=1e-4, atol=1e-5)
    assert solution.noise == {}
    assert solution.steps == [0] * 8
    assert solution.deltas == [{}] * 8


def test_feedback_never_loosens_the_encoding(model, targets):
    losses = []
    for passes in (0, 1, 4):
        ws = encode(model.generator, model.encoder, targets, feedback=passes)
        losses.append(pixel_loss(model.generator.synthesis(ws), targets))
    assert (losses[1] <= losses[0] + 1e-6).all()
    assert (losses[2] <= losses[1] + 1e-6).all()
    assert (losses[2] < losses[0]).any()


def test_an_iterative_encoder_runs_its_own_loop_at_its_own_size(model, targets):
    class Iterative(Encoder):
        """Sees the photo, and corrects its latent by the picture that the loop shows it."""

        iterative = True  # pyright: ignore[reportAssignmentType]
        resolution = 8  # pyright: ignore[reportAssignmentType]

        def refine(self, images, render, *, steps=5):
            shown = render(model.generator.mapping.w_avg.expand(len(images), model.generator.num_ws, -1))
            assert images.shape == shown.shape == (8, 3, 8, 8)
            return torch.full((len(images), model.generator.num_ws, 12), float(shown.abs().max() <= 1))

    ws = encode(model.generator, Iterative(model.encoder.config), targets, feedback=3)
    assert torch.equal(ws, torch.ones_like(ws))


@pytest.mark.parametrize(("settings", "weights"), [({}, 0), ({"refine": "weights"}, 80), ({"refine": "none"}, 0)])
def test_steps_are_taken_on_weights_alone(settings, weights):
    plan = METHOD.plan(InversionConfig(**settings))
    assert (plan.latent, plan.weights, plan.total) == (0, weights, weights)
    assert METHOD.plan(InversionConfig(steps=7, refine="weights")).total == 7
