"""Measurements on rendered latents."""

from __future__ import annotations

import pytest

from latentedit.directions import Direction
from latentedit.directions.fitting.probe import LeakageMeter


def test_leakage_is_measured_in_spreads(probe, samples, perception) -> None:
    ws = probe.spread_ws(samples.w[:32])
    age = Direction("age", perception.age)
    leakage = LeakageMeter(probe, ws, own="age", spreads={"age": 4.0, "yaw": 2.0}).measure(age, 0.5)
    assert leakage.own == pytest.approx(8 * 1.0 / 4, rel=1e-4)
    assert leakage.others["yaw"] == pytest.approx(0, abs=1e-4)
    assert leakage.identity == pytest.approx(0, abs=1e-4)
