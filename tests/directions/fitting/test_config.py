"""Configurations: what is refused."""

from __future__ import annotations

import pytest

from latentedit.directions import FitConfig, ProcedureConfig
from latentedit.errors import DirectionError


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(DirectionError, match=r"way='diagonal' is unknown\. Choose normal, pattern or auto"):
        ProcedureConfig(way="diagonal")


@pytest.mark.parametrize("config", [{"share": 0.0}, {"share": 0.7}, {"train": 1.0}, {"train": 0.0}])
def test_shares_out_of_range_are_refused(config: dict[str, float]) -> None:
    with pytest.raises(DirectionError, match="is out of range"):
        FitConfig(**config)  # type: ignore[arg-type]
