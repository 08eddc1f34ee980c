"""A run of tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentedit.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    GeneratorConfig,
)
from latentedit.training.generator.stages import (
    RunConfig,
    save_run,
)


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    made = RunConfig(
        tmp_path / "run",
        GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16),
        EncoderConfig(resolution=16, num_ws=6, w_dim=16, channels=(8, 16, 16), blocks=0),
        DiscriminatorConfig(resolution=16, channel_base=128, channel_max=16),
        save_every=16,
    )
    save_run(made)
    return made


@pytest.fixture
def fabric():
    return pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
