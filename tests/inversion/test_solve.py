from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentedit.errors import LatentEditError, ModelError
from latentedit.inversion import InversionConfig
from latentedit.inversion.encode import encode, encode_each
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.solve import choose_method, solve
from latentedit.inversion.whitening import LatentSpace

CONFIG = InversionConfig(steps=24, judge_every=3, learning_rate=0.1, patience=0, refine="none")


@pytest.fixture(scope="module")
def space(model):
    return LatentSpace.measure(model.generator)


def _render(model, solution):
    return model.generator.synthesis(solution.ws, noise=solution.noise or None)


@pytest.mark.parametrize("method", ["optimize", "hybrid"])
def test_a_batch_gives_what_single_photos_give(model, targets, space, method):
    batch = solve(model, targets, method=method, config=CONFIG, seeds=range(8), space=space)
    for row in range(8):
        single = solve(model, targets[row : row + 1], method=method, config=CONFIG, seeds=[row], space=space)
        assert (single.ws[0] - batch.ws[row]).abs().max() <= 1e-3
        for name, value in single.noise.items():
            assert (value[0] - batch.noise[name][row]).abs().max() <= 1e-3
        assert single.steps[0] == batch.steps[row]


def test_short_passes_are_filled_up_so_that_their_size_never_changes(model, targets, space):
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __getattr__(self, name):
            return super().__getattr__(name) if name in ("_modules", "inner") else getattr(self.inner, name)

        def forward(self, ws, **options):
            if ws.requires_grad:
                seen.append(len(ws))
            return self.inner(ws, **options)

    generator = model.generator
    inner = generator.synthesis
    config = replace(CONFIG, steps=4, pass_size=3)
    try:
        generator.synthesis = Spy(inner)
        batch = solve(model, targets[:5], method="hybrid", config=config, seeds=[0] * 5, space=space)
        single = solve(model, targets[4:5], method="hybrid", config=config, seeds=[0], space=space)
    finally:
        generator.synthesis = inner
    assert seen == [3] * (4 * 2 + 4)
    assert (single.ws[0] - batch.ws[4]).abs().max() <= 1e-4


@pytest.mark.parametrize("method", ["optimize", "hybrid"])
def test_descent_comes_much_closer_than_its_start(model, targets, space, method):
    targets = targets[:3]
    config = replace(CONFIG, steps=60)
    start = solve(model, targets, method=method, config=replace(config, steps=0), seeds=[0] * 3, space=space)
    found = solve(model, targets, method=method, config=config, seeds=[0] * 3, space=space)
    before, after = (pixel_loss(_render(model, s), targets) for s in (start, found))
    assert (after < 0.3 * before).all()
    assert start.steps == [0] * 3
    assert found.steps == [60] * 3


def test_hybrid_seeks_one_w_that_the_mapping_network_could_give(model, targets, space):
    targets = targets[:3]
    config = InversionConfig(steps=40, weight_share=0.5, judge_every=3)
    stages = []
    found = solve(
        model, targets, method="hybrid", config=config, seeds=[0] * 3, space=space,
        callback=lambda event: stages.append(event.stage),
    )  # fmt: skip
    assert stages == ["pivot"] * 20 + ["weights"] * 3 * 20
    assert found.noise == {}
    torch.testing.assert_close(found.ws, found.ws[:, :1].expand_as(found.ws))
    inner = space.within()
    torch.testing.assert_close(inner.to_ws(inner.from_ws(found.ws)), found.ws, atol=1e-4, rtol=1e-4)
    base = encode_each(model.generator, model.encoder, targets).mean(dim=1, keepdim=True)
    start = inner.to_ws(inner.from_ws(base)).expand_as(found.ws)
    before, after = (pixel_loss(model.generator.synthesis(ws), targets) for ws in (start, found.ws))
    assert (after < before).all()


def test_the_pull_keeps_the_pivot_near_the_average_face(model, targets, space):
    lengths = []
    for weight in (0.0, 10.0):
        config = InversionConfig(steps=60, weight_share=0, pivot_weight=weight)
        found = solve(model, targets[:3], method="hybrid", config=config, seeds=[0] * 3, space=space)
        lengths.append(float(space.within().from_ws(found.ws).square().mean()))
    assert lengths[1] < 0.7 * lengths[0]


@pytest.mark.parametrize(
    ("settings", "latents", "weights"),
    [({}, 40, 160), ({"pivot": "w+"}, 120, 80), ({"refine": "none"}, 200, 0), ({"weight_share": 0.5}, 100, 100)],
)
def test_steps_are_shared_between_latent_and_weights(settings, latents, weights):
    config = InversionConfig(**settings)
    assert config.total_steps("hybrid") - config.weight_steps("hybrid") == latents
    assert config.weight_steps("hybrid") == weights
    with pytest.raises(LatentEditError, match=r"pivot is 'z'. Choose 'auto', 'w' or 'w\+'"):
        InversionConfig(pivot="z")  # pyright: ignore[reportArgumentType]


def test_noise_is_optimised_kept_and_white(model, targets, space):
    targets = targets[:3]
    config = replace(CONFIG, steps=60, noise_learning_rate=0.1)
    with_noise = solve(model, targets, method="hybrid", config=config, seeds=[0] * 3, space=space)
    without = solve(
        model, targets, method="hybrid", config=replace(config, optimize_noise=False), seeds=[0] * 3, space=space
    )
    assert without.noise == {}
    assert set(with_noise.noise) == set(model.generator.synthesis.noise_shapes)
    losses = [pixel_loss(_render(model, s), targets) for s in (with_noise, without)]
    assert losses[0].mean() < losses[1].mean()
    for value in with_noise.noise.values():
        torch.testing.assert_close(value.square().mean(dim=(2, 3)), torch.ones(3, 1), atol=1e-3, rtol=0)
    stored = model.generator.synthesis.b16.conv1.noise_const
    assert (with_noise.noise["b16.conv1"] - stored).abs().amax(dim=(1, 2, 3)).min() > 0.05


def test_weights_stay_frozen_even_where_they_ask_for_gradients(new_model, targets, space):
    model = new_model()
    for network in (model.generator, model.perception, model.encoder):
        network.requires_grad_(True)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    solve(model, targets[:1], method="hybrid", config=replace(CONFIG, steps=3), seeds=[0], space=space)
    assert all(torch.equal(value, before[name]) for name, value in model.generator.state_dict().items())
    assert all(p.grad is None for n in (model.generator, model.perception, model.encoder) for p in n.parameters())


def test_a_photo_that_is_reached_stops_early_and_the_others_go_on(model, targets, space):
    ws = encode_each(model.generator, model.encoder, targets[:1])
    own = model.generator.synthesis(ws).clamp(-1, 1)
    pair = torch.cat([own, targets[1:2]])
    config = InversionConfig(
        steps=120, judge_every=1, patience=5, min_gain=0.02, ramp_down=0.1, learning_rate=0.02, refine="none"
    )
    rows = []
    solution = solve(
        model, pair, method="hybrid", config=config, seeds=[0, 0], space=space,
        callback=lambda event: rows.append(event.rows),
    )  # fmt: skip
    assert solution.steps[0] < solution.steps[1]
    assert rows[solution.steps[0] - 1] == (0, 1)
    assert rows[solution.steps[0]] == (1,)
    assert len(rows) == solution.steps[1]
    single = solve(model, pair[1:], method="hybrid", config=config, seeds=[0], space=space)
    assert (single.ws[0] - solution.ws[1]).abs().max() <= 1e-3


def test_no_photo_ends_worse_than_it_started(model, targets, space):
    targets = targets[:3]
    wild = replace(CONFIG, steps=3, learning_rate=50.0, optimize_noise=False, ramp_up=0)
    start = encode_each(model.generator, model.encoder, targets)
    found = solve(model, targets, method="hybrid", config=wild, seeds=[0] * 3, space=space)
    torch.testing.assert_close(found.ws, start, rtol=1e-3, atol=1e-4)


def test_the_seed_decides_the_jitter_of_each_photo(model, targets, space):
    runs = [
        solve(model, targets[:1].repeat(2, 1, 1, 1), method="optimize", config=CONFIG, seeds=seeds, space=space).ws
        for seeds in ((0, 0), (0, 7), (0, 7))
    ]
    assert torch.equal(runs[0][0], runs[0][1])
    assert torch.equal(runs[1], runs[2])
    assert (runs[1][0] - runs[1][1]).abs().max() > 1e-4


def test_optimize_moves_one_w_first_and_layers_apart_later(model, targets, space):
    stages = []
    config = replace(CONFIG, w_share=0.5)
    solution = solve(
        model, targets[:1], method="optimize", config=config, seeds=[0], space=space,
        callback=lambda event: stages.append((event.step, event.stage)),
    )  # fmt: skip
    assert stages == [(step, "w" if step <= 12 else "w+") for step in range(1, 25)]
    only_w = solve(model, targets[:1], method="optimize", config=replace(CONFIG, w_share=1), seeds=[0], space=space)
    torch.testing.assert_close(only_w.ws, only_w.ws[:, :1].expand_as(only_w.ws))
    assert (solution.ws - solution.ws[:, :1]).abs().max() > 1e-3


def test_the_pull_towards_w_keeps_layers_together(model, targets, space):
    targets = targets[:3]
    spreads = []
    for weight in (0.0, 1.0):
        config = replace(CONFIG, steps=60, spread_weight=weight)
        u = space.from_ws(solve(model, targets, method="optimize", config=config, seeds=[0] * 3, space=space).ws)
        spreads.append(float((u - u.mean(dim=1, keepdim=True)).square().mean()))
    assert spreads[1] < 0.2 * spreads[0]


def test_optimize_starts_from_the_encoder_where_asked(model, targets, space):
    targets = targets[:3]
    config = replace(CONFIG, steps=0, start="encoder")
    found = solve(model, targets, method="optimize", config=config, seeds=[0] * 3, space=space)
    expected = encode_each(model.generator, model.encoder, targets).mean(dim=1, keepdim=True).expand_as(found.ws)
    torch.testing.assert_close(found.ws, expected, rtol=1e-3, atol=1e-4)
    average = solve(model, targets[:1], method="optimize", config=replace(CONFIG, steps=0), seeds=[0], space=space)
    torch.testing.assert_close(average.ws[0, 0], model.generator.mapping.w_avg)


def test_what_does_not_count_has_no_part_in_the_result(model, targets, space):
    weights = torch.ones(2, 1, 16, 16)
    weights[..., 8:, :] = 0
    disturbed = targets[:2].clone()
    disturbed[..., 8:, :] = 1.0
    config = replace(CONFIG, steps=12)
    start = {"method": "optimize", "config": config, "seeds": [0, 0], "space": space, "weights": weights}
    a, b = solve(model, targets[:2], **start), solve(model, disturbed, **start)
    assert torch.equal(a.ws, b.ws)
    free = solve(model, disturbed, **{**start, "weights": None})
    assert (a.ws - free.ws).abs().max() > 0.1


def test_callback_gets_losses_and_every_nth_image(model, targets, space):
    events = []
    config = replace(CONFIG, steps=10, judge_every=4, image_every=4, batch_size=2)
    solve(model, targets[:2], method="hybrid", config=config, seeds=[0, 0], space=space, callback=events.append)
    assert [event.step for event in events if event.images is not None] == [4, 8, 10]
    assert events[3].images.shape == (2, 3, 16, 16)
    assert [set(event.losses) for event in events[:2]] == [{"pixel", "perceptual", "identity"}, {"pixel"}]
    assert all(value.shape == (2,) for event in events for value in event.losses.values())
    assert {event.steps for event in events} == {10}


def test_feedback_never_loosens_the_encoding(model, targets):
    losses = []
    for passes in (0, 1, 4):
        ws = encode(model.generator, model.encoder, targets, feedback=passes)
        losses.append(pixel_loss(model.generator.synthesis(ws), targets))
    assert (losses[1] <= losses[0] + 1e-6).all()
    assert (losses[2] <= losses[1] + 1e-6).all()
    assert (losses[2] < losses[0]).any()


def test_the_encoder_alone_is_one_pass(model, targets):
    solution = solve(model, targets, method="encoder", config=InversionConfig(), seeds=[0] * 8)
    torch.testing.assert_close(solution.ws, model.encoder(targets), rtol=1e-4, atol=1e-5)
    assert solution.noise == {}
    assert solution.steps == [0] * 8


def test_methods_are_chosen_by_what_the_model_has(model, new_model):
    bare = new_model(encoder=False)
    assert choose_method("auto", model) == "hybrid"
    assert choose_method("auto", bare) == "optimize"
    with pytest.raises(
        LatentEditError, match=r"method 'magic' is unknown. Choose one of auto, encoder, optimize, hybrid"
    ):
        choose_method("magic", model)
    with pytest.raises(ModelError, match=r"'tiny' has no encoder.*optimize"):
        choose_method("hybrid", bare)
