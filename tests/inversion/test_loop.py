"""What holds of every descent: photos on their own, early ends, reports, and networks that stay as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from solving import solve

from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.methods.encoder import encode

CONFIG = InversionConfig(steps=24, judge_every=3, learning_rate=0.1, patience=0, refine="none")


def render(model, solution):
    return model.generator.synthesis(solution.ws, noise=solution.noise or None)


@pytest.mark.parametrize("method", ["optimize", "hybrid"])
@pytest.mark.parametrize("refine", ["none", "weights"])
def test_a_photo_gives_the_same_bits_alone_and_among_others(model, targets, method, refine):
    config = replace(CONFIG, steps=12, refine=refine)
    together = solve(model, targets[:4], method=method, config=config, seeds=range(4))
    for row in range(4):
        alone = solve(model, targets[row : row + 1], method=method, config=config, seeds=[row])
        assert torch.equal(alone.ws[0], together.ws[row])
        assert all(torch.equal(value[0], together.noise[name][row]) for name, value in alone.noise.items())
        for name, factors in alone.deltas[0].items():
            assert all(map(torch.equal, factors, together.deltas[row][name]))
        assert alone.steps[0] == together.steps[row]


@pytest.mark.parametrize("method", ["optimize", "hybrid"])
def test_descent_comes_much_closer_than_its_start(model, targets, method):
    targets = targets[:3]
    config = replace(CONFIG, steps=60)
    start = solve(model, targets, method=method, config=replace(config, steps=0))
    found = solve(model, targets, method=method, config=config)
    before, after = (pixel_loss(render(model, s), targets) for s in (start, found))
    assert (after < 0.3 * before).all()
    assert start.steps == [0] * 3
    assert found.steps == [60] * 3


def test_weights_stay_frozen_even_where_they_ask_for_gradients(new_model, targets):
    model = new_model()
    networks = (model.generator, model.perception, model.encoder)
    for network in networks:
        network.requires_grad_(True)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    solve(model, targets[:1], method="hybrid", config=replace(CONFIG, steps=3))
    solve(model, targets[:1], method="hybrid", config=replace(CONFIG, steps=3, refine="weights"))
    assert all(torch.equal(value, before[name]) for name, value in model.generator.state_dict().items())
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())


def test_a_photo_that_is_reached_stops_early_and_the_next_takes_its_own_steps(model, targets):
    ws = encode(model.generator, model.encoder, targets[:1])
    own = model.generator.synthesis(ws).clamp(-1, 1)
    pair = torch.cat([own, targets[1:2]])
    config = InversionConfig(
        steps=120, judge_every=1, patience=5, min_gain=0.02, ramp_down=0.1, learning_rate=0.02, refine="none"
    )
    events = []
    solution = solve(model, pair, method="hybrid", config=config, callback=events.append)
    assert solution.steps[0] < solution.steps[1]
    assert [event.rows for event in events] == [(0,)] * solution.steps[0] + [(1,)] * solution.steps[1]
    assert events[solution.steps[0]].completed == 121
    single = solve(model, pair[1:], method="hybrid", config=config)
    assert torch.equal(single.ws[0], solution.ws[1])


def test_no_photo_ends_worse_than_it_started(model, targets):
    wild = replace(CONFIG, steps=3, learning_rate=50.0, optimize_noise=False, ramp_up=0)
    start = encode(model.generator, model.encoder, targets[:3])
    found = solve(model, targets[:3], method="hybrid", config=wild)
    torch.testing.assert_close(found.ws, start, rtol=1e-3, atol=1e-4)


def test_what_does_not_count_has_no_part_in_the_result(model, targets):
    weights = torch.ones(2, 1, 16, 16)
    weights[..., 8:, :] = 0
    disturbed = targets[:2].clone()
    disturbed[..., 8:, :] = 1.0
    config = replace(CONFIG, steps=12)
    a = solve(model, targets[:2], method="optimize", config=config, weights=weights)
    b = solve(model, disturbed, method="optimize", config=config, weights=weights)
    assert torch.equal(a.ws, b.ws)
    free = solve(model, disturbed, method="optimize", config=config)
    assert (a.ws - free.ws).abs().max() > 0.1


def test_callback_gets_losses_and_every_nth_image(model, targets):
    events = []
    config = replace(CONFIG, steps=10, judge_every=4, image_every=4)
    solve(model, targets[:2], method="hybrid", config=config, callback=events.append)
    assert [(event.rows, event.step) for event in events if event.images is not None] == [
        ((row,), step) for row in (0, 1) for step in (4, 8, 10)
    ]
    assert events[3].images.shape == (1, 3, 16, 16)
    assert [set(event.losses) for event in events[:2]] == [{"pixel", "perceptual", "identity"}, {"pixel"}]
    assert all(value.shape == (1,) for event in events for value in event.losses.values())
    assert {event.steps for event in events} == {10}
    assert [event.completed for event in events] == list(range(1, 21))
