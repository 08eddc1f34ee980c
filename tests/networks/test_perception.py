"""The perception network: shapes, names, calibration, distances, folding, gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from latentedit.errors import DirectionError, ImageError, ModelError
from latentedit.networks.perception import (
    ACCEPT_RATES,
    PerceptionConfig,
    PerceptionNetwork,
    fold,
)

SMALL = PerceptionConfig(
    size=32, widths=(8, 16), blocks=(1, 2), hidden=12, identity_dim=10, age_bins=21, attributes=("smile", "male", "hat")
)


@pytest.fixture
def network() -> PerceptionNetwork:
    """Small, with batch statistics and calibration that differ from their initial values."""
    torch.manual_seed(0)
    network = PerceptionNetwork(SMALL)
    network.train()
    for _ in range(3):
        network(torch.rand(8, 3, 32, 32) * 2 - 1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    network.slope.uniform_(0.5, 2)
    network.offset.uniform_(-1, 1)
    network.identity_scale.fill_(0.8)
    return network.eval().requires_grad_(False)


def images(count: int = 3, size: int = 40, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_fields_have_the_documented_shapes_and_ranges(network: PerceptionNetwork) -> None:
    seen = network.perceive(images())
    assert list(seen) == ["age", "yaw", "pitch", "roll", "smile", "gender", "hat"] == list(network.units)
    assert all(value.shape == (3,) and value.isfinite().all() for value in seen.scores().values())
    assert (seen.age >= 0).all()
    assert (seen.age <= 20).all()
    assert ((seen.probabilities > 0) & (seen.probabilities < 1)).all()
    torch.testing.assert_close(seen.identity.norm(dim=1), torch.ones(3))
    assert [tuple(m.shape) for m in seen.features] == [(3, 8, 16, 16), (3, 16, 8, 8)]
    assert network.units == {"age": "years"} | dict.fromkeys(["yaw", "pitch", "roll"], "degrees") | dict.fromkeys(
        ("smile", "gender", "hat"), "probability"
    )


def test_probabilities_are_the_sigmoid_of_scaled_logits(network: PerceptionNetwork) -> None:
    raw = network(F.interpolate(images(), 32, mode="bilinear", antialias=True))["attributes"]
    seen = network.perceive(images())
    torch.testing.assert_close(seen.probabilities, torch.sigmoid(raw * network.slope + network.offset))


def test_age_is_the_expectation_over_one_year_bins(network: PerceptionNetwork) -> None:
    network.age_head.weight.zero_()
    network.age_head.bias.fill_(-100)
    network.age_head.bias[7] = 0
    network.age_head.bias[9] = math.log(3)
    torch.testing.assert_close(network.perceive(images()).age, torch.full([3], 0.25 * 7 + 0.75 * 9))


def test_one_image_is_seen_the_same_alone_and_in_a_batch(network: PerceptionNetwork) -> None:
    batch, alone = network.perceive(images()), network.perceive(images()[1:2])
    for name, value in alone.scores().items():
        torch.testing.assert_close(value, batch[name][1:2])
    torch.testing.assert_close(alone.identity, batch.identity[1:2])


def test_names_and_aliases(network: PerceptionNetwork) -> None:
    seen = network.perceive(images())
    assert SMALL.attributes == ("smile", "gender", "hat"), "files of before the table of attributes say male"
    assert torch.equal(seen["male"], seen.gender)
    assert torch.equal(seen.male, seen["Gender"])
    assert torch.equal(seen["wearing-hat"], seen.hat)
    with pytest.raises(
        DirectionError, match=r"Unknown attribute 'beauty'\. Known: age, yaw, pitch, roll, smile, gender, hat\."
    ):
        seen["beauty"]
    with pytest.raises(AttributeError, match="has no attribute 'beard'"):
        _ = seen.beard
    assert not hasattr(seen, "glasses")


def test_identity_distance_is_scaled_euclidean_and_takes_perceptions_or_images(network: PerceptionNetwork) -> None:
    a, b = images(seed=1), images(seed=2)
    seen_a, seen_b = network.perceive(a), network.perceive(b)
    expected = 0.8 * (seen_a.identity - seen_b.identity).square().sum(1).sqrt()
    torch.testing.assert_close(network.identity_distance(a, seen_b), expected)
    torch.testing.assert_close(network.identity_distance(b, a), expected)
    torch.testing.assert_close(
        network.identity_distance(a[:1], seen_b)[1:], 0.8 * (seen_a.identity[:1] - seen_b.identity[1:]).norm(dim=1)
    )
    assert torch.equal(network.identity_distance(a, a), torch.zeros(3))


def test_perceptual_distance_is_the_weighted_lpips_sum(network: PerceptionNetwork) -> None:
    a, b = images(seed=1), images(seed=2)
    network.feature_weights.copy_(torch.tensor([2.0, 0.5]))
    expected = torch.zeros(3)
    for weight, x, y in zip((2.0, 0.5), network.perceive(a).features, network.perceive(b).features, strict=True):
        difference = F.normalize(x, dim=1) - F.normalize(y, dim=1)
        expected += weight * difference.square().sum(1).mean([1, 2])
    torch.testing.assert_close(network.perceptual_distance(a, b), expected)
    assert torch.equal(network.perceptual_distance(a, a), torch.zeros(3))


@pytest.mark.parametrize("name", ["age", "yaw", "smile"])
def test_scores_have_gradients_that_agree_with_differences(network: PerceptionNetwork, name: str) -> None:
    network = network.double()
    x = images(1, 32).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network.perceive(x)[name].sum(), x)
    step = gradient / gradient.norm() * 1e-6
    change = network.perceive(x + step)[name] - network.perceive(x - step)[name]
    assert change.item() == pytest.approx(2e-6 * gradient.norm().item(), rel=1e-4)


def test_distances_of_equal_images_have_finite_gradients(network: PerceptionNetwork) -> None:
    x = images().requires_grad_(True)
    total = network.identity_distance(x, x.detach()).sum() + network.perceptual_distance(x, x.detach()).sum()
    (gradient,) = torch.autograd.grad(total, x)
    assert gradient.isfinite().all()


def test_folding_changes_nothing_but_the_layers(network: PerceptionNetwork) -> None:
    folded = fold(network)
    before, after = network.perceive(images()), folded.perceive(images())
    for name, value in before.scores().items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.identity, before.identity, rtol=1e-4, atol=1e-4)
    assert not any("norm" in name for name in folded.state_dict())
    with pytest.raises(ModelError, match="The network is folded already"):
        fold(folded)


def test_folding_keeps_the_chosen_attributes(network: PerceptionNetwork) -> None:
    folded = fold(network, ("hat", "smile"))
    before, after = network.perceive(images()), folded.perceive(images())
    assert list(after)[4:] == ["hat", "smile"]
    for name in ("hat", "smile"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-4)


def test_window_of_another_template_shows_the_same_pixels(network: PerceptionNetwork) -> None:
    view = network.for_template(1.1, 0.2)  # half the side of the other template's crop, at its centre
    whole = images(2, 64)
    inner = F.pad(whole, [-16] * 4)
    torch.testing.assert_close(view.perceive(whole).identity, network.perceive(inner).identity)
    lower = network.for_template(1.1, 0.2 - 1.1 / 0.27 / 8)  # an eighth of the side further down
    torch.testing.assert_close(
        lower.perceive(whole).age, network.perceive(F.pad(whole, [-16, -16, -24, -8])).age, rtol=1e-4, atol=1e-4
    )
    assert network.window is None
    assert network.for_template(0.55, 0.2).window is None


def test_accept_distance_interpolates_between_measured_rates(network: PerceptionNetwork) -> None:
    network.accept_distances.copy_(torch.tensor([0.7, 0.6, 0.5, 0.45, 0.4]))
    for rate, distance in zip(ACCEPT_RATES, (0.7, 0.6, 0.5, 0.45, 0.4), strict=True):
        assert network.accept_distance(rate) == pytest.approx(distance)
    assert network.accept_distance(math.sqrt(0.03 * 0.01)) == pytest.approx(0.55)
    with pytest.raises(DirectionError, match=r"0\.5 was not measured\. Choose one from 0\.001 to 0\.1\."):
        network.accept_distance(0.5)


def test_wrong_inputs_are_named(network: PerceptionNetwork) -> None:
    with pytest.raises(ImageError, match=r"shape \(3, 40, 40\)\. Give \[N, 3, H, W\]"):
        network.perceive(images()[0])
    with pytest.raises(ModelError, match=r"widths \(8, 16\) and blocks \(1,\) differ"):
        PerceptionConfig(widths=(8, 16), blocks=(1,))


def test_config_takes_the_lists_of_json() -> None:
    config = PerceptionConfig(widths=[8, 16], blocks=[1, 2], attributes=["smile"])  # type: ignore[arg-type]
    assert (config.widths, config.blocks, config.attributes) == ((8, 16), (1, 2), ("smile",))
    assert hash(config)


def test_default_network_has_about_three_million_weights() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in PerceptionNetwork().parameters()) < 3.1e6
