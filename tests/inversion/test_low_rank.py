from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from solving import solve

from latentedit.codes.delta import adapted
from latentedit.errors import LatentEditError, ModelError
from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.networks import fingerprint
from latentedit.networks.variant import with_weights

CONFIG = InversionConfig(
    steps=40, patience=0, refine="weights", weight_rank=2, weight_share=0.75, weight_learning_rate=0.02
)


def test_weights_come_closer_and_the_generator_stays_as_it_was(model, targets):
    before = fingerprint(model.generator)
    refined = solve(model, targets[:2], method="hybrid", config=CONFIG)
    assert fingerprint(model.generator) == before
    for row in range(2):
        noise = {name: value[row : row + 1] for name, value in refined.noise.items()}
        ws, target = refined.ws[row : row + 1], targets[row : row + 1]
        plain = pixel_loss(model.generator.synthesis(ws, noise=noise), target)
        tuned = pixel_loss(adapted(model.generator, refined.deltas[row]).synthesis(ws, noise=noise), target)
        assert tuned < 0.6 * plain


def test_a_delta_is_of_low_rank_and_shares_the_other_weights(model, targets):
    delta = solve(model, targets[:1], method="encoder", config=CONFIG).deltas[0]
    assert set(delta) == {f"b{r}.conv{i}.weight" for r, i in ((4, 1), (8, 0), (8, 1), (16, 0), (16, 1))}
    tuned = adapted(model.generator, delta)
    changed = dict(tuned.synthesis.named_parameters())
    for name, (left, right) in delta.items():
        difference = changed[name] - model.generator.synthesis.get_parameter(name)
        assert torch.linalg.matrix_rank(difference.flatten(1), atol=1e-4) <= 2
        torch.testing.assert_close(difference.flatten(1), left @ right, atol=1e-5, rtol=1e-4)
    assert tuned.mapping.fc0.weight is model.generator.mapping.fc0.weight
    assert adapted(model.generator, {}) is model.generator


def test_coarse_layers_are_left_to_the_latent(new_model):
    model = new_model(resolution=64)
    targets = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    delta = solve(model, targets, method="encoder", config=replace(CONFIG, steps=1)).deltas[0]
    fine = ("b16.conv1", "b32.conv0", "b32.conv1", "b64.conv0", "b64.conv1")
    assert set(delta) == {f"{name}.weight" for name in fine}


def test_deltas_are_each_photos_own(model, targets):
    config = replace(CONFIG, steps=9, weight_share=0.5)
    first, second = solve(model, targets[:2], method="hybrid", config=config).deltas
    assert all((left - second[name][0]).abs().max() > 1e-3 for name, (left, _) in first.items())


def test_progress_counts_on_through_the_weights(model, targets):
    events = []
    config = replace(CONFIG, steps=7, weight_share=0.4, image_every=7)
    solve(model, targets[:2], method="hybrid", config=config, callback=events.append)
    weights = [(event.step, event.rows) for event in events if event.stage == "weights"]
    assert weights == [(step, (row,)) for row in (0, 1) for step in (5, 6, 7)]
    assert {event.steps for event in events} == {7}
    assert [event.completed for event in events] == list(range(1, 15))
    assert events[-1].images.shape == (1, 3, 16, 16)


class _Stubborn(torch.nn.Module):
    """A synthesis network that says of no weight that it can be refined."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.__dict__["inner"] = inner

    def __getattr__(self, name: str):
        return getattr(self.__dict__["inner"], name)

    def forward(self, ws, **options):
        return self.inner(ws, **options)

    def refinable_weights(self):
        return {}


def test_the_remedy_for_a_generator_without_convolutions_works(new_model, targets):
    """What the error advises is run here."""
    model = new_model()
    model.generator.synthesis = _Stubborn(model.generator.synthesis)
    with pytest.raises(ModelError, match="knows no convolution") as caught:
        solve(model, targets[:1], method="hybrid", config=replace(CONFIG, steps=2))
    advised = re.search(r"refine='(\w+)'", caught.value.remedy)
    config = replace(CONFIG, steps=2, refine=advised[1])
    assert solve(model, targets[:1], method="hybrid", config=config).deltas == [{}]
    with pytest.raises(LatentEditError, match="refine is None"):
        replace(CONFIG, refine=None)


def test_a_delta_of_another_generator_is_refused(model, new_model, targets):
    delta = solve(model, targets[:1], method="encoder", config=CONFIG).deltas[0]
    with pytest.raises(ModelError, match=r"'b16.conv0.weight' does not fit this generator"):
        adapted(new_model(resolution=8).generator, delta)


def test_steps_count_in_units_of_the_weights_own_scale(new_model):
    """A network whose weights are stored 32 times smaller, and scaled up again when it runs, is refined alike."""

    class Scaled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module, factor: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(inner.get_parameter("b16.conv1.weight") / factor, requires_grad=False)
            self.inner, self.factor = inner, factor
            for name in ("noise_shapes", "layer_resolutions", "noise_gain", "stored_noise"):
                self.__dict__[name] = getattr(inner, name)

        def refinable_weights(self):
            return {"weight": 16}

        def forward(self, ws, **options):
            name = "b16.conv1.weight"
            return with_weights(self.inner, {name: self.weight * self.factor})(ws, **options)

    losses = []
    for factor in (1.0, 32.0):
        model = new_model()
        inner = model.generator.synthesis
        target = inner(model.generator.mapping(torch.randn(1, 12, generator=torch.Generator().manual_seed(1)))) * 0.5
        model.generator.synthesis = Scaled(inner, factor)
        config = replace(CONFIG, steps=30, weight_learning_rate=0.05)
        found = solve(model, target, method="encoder", config=config)
        (pair,) = found.deltas[0].values()
        tuned = with_weights(inner, {"b16.conv1.weight": inner.get_parameter("b16.conv1.weight") + factor * (
            pair[0] @ pair[1]
        ).view(16, 16, 3, 3)})  # fmt: skip
        losses.append(float(pixel_loss(tuned(found.ws), target) / pixel_loss(inner(found.ws), target)))
    assert losses[0] < 0.98
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_rank_beyond_a_small_weights_own_is_full(model, targets):
    delta = solve(model, targets[:1], method="encoder", config=replace(CONFIG, steps=2, weight_rank=500)).deltas[0]
    for name, (left, right) in delta.items():
        weight = model.generator.synthesis.get_parameter(name)
        full = min(len(weight), weight[0].numel())
        assert left.shape == (len(weight), full)
        assert right.shape == (full, weight[0].numel())
