"""Crops to train on: coloured discs."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_discs import draw_shard

from latentedit.training.data.crops import FaceCrops


@pytest.fixture
def faces(tmp_path: Path) -> FaceCrops:
    draw_shard(tmp_path)
    return FaceCrops(tmp_path, 16)
