"""A small generator and a folder of its samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentedit.networks import Generator, GeneratorConfig
from latentedit.networks.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from latentedit.training.encoding.pairs import PairsConfig, render_shards
from latentedit.training.encoding.start import new_encoder

SIDE = 32
PAIRS = PairsConfig(size=SIDE, shard_size=16)
ENCODER = TrunkEncoderConfig(
    resolution=SIDE, num_ws=8, w_dim=16, taps=(2, 4), widths=(8, 8), cells=(4, 2), hidden=16, bound=1.0
)


@pytest.fixture(scope="session")
def generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=SIDE, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
    return Generator(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def pairs_folder(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    assert len(list(render_shards(generator, folder, 5, PAIRS))) == 5
    return folder


@pytest.fixture
def encoder(generator: Generator) -> TrunkEncoder:
    torch.manual_seed(1)
    return new_encoder(generator, ENCODER, imagenet=False)
