"""Discovery as a whole: on a random network, since its parts are tested where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import DiscoverConfig, discover_directions
from latentedit.directions.discover import METHODS, face_ws, sample_w
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError
from latentedit.faces.regions import face_regions
from latentedit.networks import (
    PerceptionConfig,
    PerceptionNetwork,
    StyleGenerator,
    fingerprint,
)
from latentedit.networks.stylegan1 import StyleGAN1Config, StyleGAN1Generator
from latentedit.networks.stylegan3 import StyleGAN3Config, StyleGAN3Generator

REGIONS = face_regions(16)


def probe_of(generator: StyleGenerator) -> Probe:
    torch.manual_seed(1)
    shape = PerceptionConfig(size=16, widths=(8, 8), blocks=(1, 1), hidden=8, identity_dim=8,
                             attributes=("smile", "gender"))  # fmt: skip
    return Probe(generator, PerceptionNetwork(shape).eval().requires_grad_(False))


@pytest.fixture(scope="module")
def probe(tiny) -> Probe:
    return probe_of(tiny)


def test_each_method_finds_what_was_asked_for(probe) -> None:
    said: list[str] = []
    config = DiscoverConfig(count=3, samples=200, faces=2)
    results = discover_directions(probe, config, regions=REGIONS, report=said.append)
    assert [found.method for found in results] == [method for method in METHODS for _ in range(3)]
    assert len({found.direction.name for found in results}) == 9
    assert said[0] == "sefa: looking for 3 directions"
    for found in results:
        assert found.direction.fingerprint == fingerprint(probe.generator)
        assert found.direction.metrics["step"] == found.step > 0
        assert sum(share for _, share, _ in found.regions) == pytest.approx(1, abs=0.01)
        acting = found.direction.layers
        assert (acting is not None and len(acting) == 1) == (found.method == "channels")


def test_the_same_seed_finds_the_same(probe) -> None:
    config = DiscoverConfig(count=2, samples=200, faces=1, seed=3)
    first, second = (discover_directions(probe, config, regions=REGIONS) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.to_dict() == b.to_dict()
        assert torch.equal(a.direction.normal, b.direction.normal)


def test_layers_are_those_asked_for(probe) -> None:
    config = DiscoverConfig(count=2, samples=200, faces=1, layers="0-2")
    for found in discover_directions(probe, config, regions=REGIONS):
        assert set(found.direction.layers or ()) <= {0, 1, 2}


@pytest.mark.parametrize(
    "generator",
    [
        StyleGAN1Generator(StyleGAN1Config(resolution=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8)),
        StyleGAN3Generator(StyleGAN3Config(resolution=16, z_dim=8, w_dim=8, channel_base=256, channel_max=8)),
    ],
    ids=["StyleGAN 1", "StyleGAN3"],
)
def test_every_family_has_directions(generator: StyleGenerator) -> None:
    config = DiscoverConfig(count=2, samples=120, faces=1)
    assert len(discover_directions(probe_of(generator.eval().requires_grad_(False)), config, regions=REGIONS)) == 6


def test_samples_and_faces_are_the_mapping_networks(probe) -> None:
    w = sample_w(probe, 600, seed=7)
    assert w.shape == (600, probe.generator.w_dim)
    np.testing.assert_allclose(sample_w(probe, 1, seed=7 + 599)[0], w[599], atol=1e-6)
    assert face_ws(probe, DiscoverConfig(faces=3)).shape == (3, probe.generator.num_ws, probe.generator.w_dim)


def test_nonsense_is_refused() -> None:
    with pytest.raises(DirectionError, match=r"Method \['magic'\] is unknown\. Choose among sefa, pca, channels"):
        DiscoverConfig(methods=("magic",))
    with pytest.raises(DirectionError, match=r"0 directions .* are too few"):
        DiscoverConfig(count=0)
