"""Single style channels as directions: what a move changes, and what gradients say of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions.channels import (
    MOVE,
    Channels,
    Influence,
    choose_channels,
    influence,
    style_channels,
)
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError
from latentedit.networks import Generator, GeneratorConfig, PerceptionConfig, PerceptionNetwork


@pytest.fixture(scope="module")
def wide() -> Generator:
    """More dimensions of w than a row drives styles (8 and 8 of colours), so that each can be moved alone."""
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=16, z_dim=24, w_dim=24, mapping_layers=2, channel_base=64, channel_max=8)
    return Generator(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def samples(wide: Generator) -> torch.Tensor:
    return wide.mapping(torch.randn(500, 24, generator=torch.Generator().manual_seed(1)))


def all_channels(generator: Generator, samples: torch.Tensor, layers: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Channels:
    return style_channels(generator, layers, np.cov(samples[:, 0].double().numpy(), rowvar=False))


def test_a_channel_moves_by_its_deviation_and_the_others_stay(wide: Generator, samples: torch.Tensor) -> None:
    channels = all_channels(wide, samples, (1, 3))
    names = list(wide.synthesis.noise_shapes)
    colours = {1: wide.synthesis.b4.torgb, 3: wide.synthesis.b8.torgb}
    assert len(channels) == 16
    for index in (0, 5, 11):
        layer, number = int(channels.layers[index]), int(channels.numbers[index])
        row = samples[:1, layer]
        own = wide.synthesis.get_submodule(names[layer]).affine
        moved = (own(row + channels.moves[index]) - own(row))[0]
        deviation = float(own(samples[:, layer])[:, number].std())
        assert float(moved[number]) == pytest.approx(MOVE * deviation, rel=0.05)
        rest = torch.cat([moved[:number], moved[number + 1 :], (colours[layer].affine(row + channels.moves[index])
                          - colours[layer].affine(row))[0]])  # fmt: skip
        assert float(rest.abs().max()) < 0.02 * float(moved[number])


def test_layers_without_styles_have_no_channels(wide: Generator, samples: torch.Tensor) -> None:
    with pytest.raises(DirectionError, match="no style channels there"):
        all_channels(wide, samples, (5,))  # the last row drives colours alone


def test_influence_agrees_with_moving(wide: Generator, samples: torch.Tensor) -> None:
    """Small moves of each channel, rendered and looked at, change scores and pixels as the gradients say."""
    torch.manual_seed(2)
    perception = PerceptionNetwork(
        PerceptionConfig(size=16, widths=(8, 8), blocks=(1, 1), hidden=8, identity_dim=8, attributes=("smile",))
    ).eval()
    probe = Probe(wide, perception)
    channels, ws = all_channels(wide, samples), samples[:2]
    mask = np.zeros((16, 16), bool)
    mask[4:9, 3:12] = True
    found = influence(probe, channels, ws, ("age", "brightness"), {"patch": mask, "all": np.ones((16, 16), bool)})
    share = 1e-3
    moved = {"age": [], "brightness": [], "patch": []}
    with torch.no_grad():
        start = probe.render(ws)
        before = probe.read(start)[1]
        for index in range(len(channels)):
            other = ws.clone()
            other[:, int(channels.layers[index])] += share * channels.moves[index]
            image = probe.render(other)
            after = probe.read(image)[1]
            for name, span in (("age", 10.0), ("brightness", 0.3)):
                moved[name].append(float((after[name] - before[name]).double().mean()) / span / share)
            moved["patch"].append(float((image - start)[:, :, mask].double().square().mean().sqrt()) / share)
    for name in ("age", "brightness"):
        assert np.corrcoef(moved[name], found.attributes[name])[0, 1] > 0.99
        np.testing.assert_allclose(found.attributes[name], moved[name], atol=0.1 * np.abs(moved[name]).max())
    # Two projections a face estimate the size of 405 numbers: right on average, not each.
    assert np.corrcoef(moved["patch"], found.regions["patch"])[0, 1] > 0.8
    assert np.median(found.regions["patch"] / np.array(moved["patch"])) == pytest.approx(1, abs=0.3)


def test_the_most_specific_are_chosen_in_turn() -> None:
    ages = np.array([9.0, 8.0, 0.1, 0.1, 1.0, 1.0])
    smiles = np.array([9.0, 0.1, 0.1, 6.0, 1.0, 1.0])
    nose = np.array([0.1, 0.1, 7.0, 0.1, 1.0, 1.0])
    found = Influence({"age": ages, "smile": -smiles}, {"nose": nose})
    assert set(choose_channels(found, 3)) == {1, 2, 3}, "the first does two things at once"
    assert len(set(choose_channels(found, 6))) == 6
    assert choose_channels(found, 40) == choose_channels(found, 6)
