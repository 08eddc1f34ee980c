"""A generator and a perception network of which everything is known; see `toy_model`."""

from __future__ import annotations

import pytest
import torch
from toy_model import ToyGenerator, ToyPerception

from latentedit.networks import Generator, GeneratorConfig


@pytest.fixture(scope="session")
def generator() -> ToyGenerator:
    return ToyGenerator().eval()


@pytest.fixture(scope="session")
def perception() -> ToyPerception:
    return ToyPerception().eval()


@pytest.fixture
def labelled_set(generator: ToyGenerator, perception: ToyPerception):
    from latentedit.directions import SampleConfig, sample_labelled

    return sample_labelled(generator, perception, SampleConfig(count=2000, shard=1000, batch=250))


@pytest.fixture(scope="session")
def tiny() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=12, mapping_layers=2, channel_base=64)).eval()
