"""Directions without labels, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import (
    discover_components,
    discover_weights,
)
from latentedit.errors import DirectionError
from latentedit.networks import fingerprint

RNG = np.random.default_rng(0)


def test_components_are_those_of_the_covariance() -> None:
    w = RNG.standard_normal((20_000, 4)) * np.array([1.0, 5.0, 2.0, 1.0]) + 3
    first, second = discover_components(w, 2)
    np.testing.assert_allclose(first.normal.abs().numpy(), [0, 1, 0, 0], atol=0.05)
    np.testing.assert_allclose(second.normal.abs().numpy(), [0, 0, 1, 0], atol=0.05)
    assert first.settings["share"] == pytest.approx(25 / 31, abs=0.02)
    assert float(first.distance(torch.full((1, 2, 4), 3.0))) == pytest.approx(0, abs=0.1)
    with pytest.raises(DirectionError, match="9 components cannot be had from 20000 latents of 4 dimensions"):
        discover_components(w, 9)


def test_weights_give_the_directions_that_change_styles_most(tiny) -> None:
    found = discover_weights(tiny, 12, layers="0-2")
    layers = tiny.synthesis.b4.conv1, tiny.synthesis.b8.conv0, tiny.synthesis.b8.conv1
    weights = torch.cat([layer.affine.weight.detach() for layer in layers])
    change = [float((weights @ d.normal).square().sum()) for d in found]
    assert change == sorted(change, reverse=True)
    assert change[0] == pytest.approx(float(torch.linalg.matrix_norm(weights, 2)) ** 2, rel=1e-4)
    assert found[0].layers == (0, 1, 2)
    assert found[0].fingerprint == fingerprint(tiny)
    with pytest.raises(DirectionError, match="13 directions cannot be had from 12"):
        discover_weights(tiny, 13)
