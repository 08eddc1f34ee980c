from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentedit.errors import ModelError
from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.low_rank import _input_side, adapt
from latentedit.inversion.solve import solve
from latentedit.networks import fingerprint

CONFIG = InversionConfig(
    steps=40, patience=0, refine="weights", weight_rank=2, weight_share=0.75, weight_learning_rate=0.02
)


def test_weights_come_closer_and_the_generator_stays_as_it_was(model, targets):
    before = fingerprint(model.generator)
    refined = solve(model, targets[:2], method="hybrid", config=CONFIG, seeds=[0, 0])
    assert fingerprint(model.generator) == before
    for row in range(2):
        noise = {name: value[row : row + 1] for name, value in refined.noise.items()}
        ws, target = refined.ws[row : row + 1], targets[row : row + 1]
        plain = pixel_loss(model.generator.synthesis(ws, noise=noise), target)
        adapted = pixel_loss(adapt(model.generator, refined.deltas[row]).synthesis(ws, noise=noise), target)
        assert adapted < 0.6 * plain


def test_a_delta_is_of_low_rank_and_shares_the_other_weights(model, targets):
    delta = solve(model, targets[:1], method="encoder", config=CONFIG, seeds=[0]).deltas[0]
    assert set(delta) == {f"b{r}.conv{i}.weight" for r, i in ((4, 1), (8, 0), (8, 1), (16, 0), (16, 1))}
    adapted = adapt(model.generator, delta)
    for name, (left, right) in delta.items():
        changed = adapted.synthesis.get_parameter(name) - model.generator.synthesis.get_parameter(name)
        assert torch.linalg.matrix_rank(changed.flatten(1), atol=1e-4) <= 2
        torch.testing.assert_close(changed.flatten(1), left @ right, atol=1e-5, rtol=1e-4)
    assert adapted.mapping.fc0.weight is model.generator.mapping.fc0.weight
    assert adapt(model.generator, {}) is model.generator


@pytest.mark.parametrize(
    ("name", "resolution", "side"),
    [("b4.conv1", 64, 4), ("b8.conv0", 64, 4), ("b16.conv0", 64, 8), ("b16.conv1", 64, 16), ("L3_52_1024", 256, 256)],
)
def test_the_size_that_a_convolution_reads_is_told_by_its_name(name, resolution, side):
    assert _input_side(f"{name}.weight", resolution) == side


def test_coarse_layers_are_left_to_the_latent(new_model):
    model = new_model(resolution=64)
    targets = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    delta = solve(model, targets, method="encoder", config=replace(CONFIG, steps=1), seeds=[0]).deltas[0]
    fine = ("b16.conv1", "b32.conv0", "b32.conv1", "b64.conv0", "b64.conv1")
    assert set(delta) == {f"{name}.weight" for name in fine}


def test_deltas_are_each_photos_own(model, targets):
    config = replace(CONFIG, steps=9, weight_share=0.5)
    batch = solve(model, targets[:2], method="hybrid", config=config, seeds=[0, 0]).deltas
    single = solve(model, targets[1:2], method="hybrid", config=config, seeds=[0]).deltas[0]
    for name, (left, _) in single.items():
        assert (left - batch[1][name][0]).abs().max() < 1e-3
        assert (left - batch[0][name][0]).abs().max() > 1e-3


def test_progress_counts_on_through_the_weights(model, targets):
    events = []
    config = replace(CONFIG, steps=7, weight_share=0.4, image_every=7)
    solve(model, targets[:2], method="hybrid", config=config, seeds=[0, 0], callback=events.append)
    weights = [(event.step, event.rows) for event in events if event.stage == "weights"]
    assert weights == [(step, (row,)) for row in (0, 1) for step in (5, 6, 7)]
    assert {event.steps for event in events} == {7}
    assert [event.completed for event in events] == [2, 4, 6, 8, 9, 10, 11, 12, 13, 14]
    assert events[-1].images.shape == (1, 3, 16, 16)


def test_a_delta_of_another_generator_is_refused(model, new_model, targets):
    delta = solve(model, targets[:1], method="encoder", config=CONFIG, seeds=[0]).deltas[0]
    with pytest.raises(ModelError, match=r"'b16.conv0.weight' does not fit this generator"):
        adapt(new_model(resolution=8).generator, delta)
