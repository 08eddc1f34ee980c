"""Conditioned directions, and the table of cosines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import Direction
from latentedit.directions.fitting.conditioning import condition, cosine_table
from latentedit.errors import DirectionError

RNG = np.random.default_rng(0)


def test_conditioned_directions_forget_their_calibration_and_remember_on_what() -> None:
    a, b = (Direction(name, torch.from_numpy(RNG.standard_normal(8))) for name in "ab")
    result = condition(a, {"b": b})
    assert float(result.normal @ b.normal) == pytest.approx(0, abs=1e-6)
    assert result.calibration is None
    assert result.settings["conditioned_on"] == ["b"]
    with pytest.raises(DirectionError, match="one normal per layer cannot be conditioned"):
        condition(Direction("c", torch.ones(4, 8)), {"b": b})


def test_the_table_holds_absolute_cosines() -> None:
    x = Direction("x", torch.tensor([1.0, 0.0]))
    y = Direction("y", torch.tensor([-0.6, 0.8]))
    rows = Direction("rows", torch.ones(3, 2))
    assert cosine_table({"x": x, "y": y, "rows": rows}) == {"x": {"y": 0.6}, "y": {"x": 0.6}}
