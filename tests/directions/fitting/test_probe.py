"""Measurements on rendered latents."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.directions import Direction
from latentedit.directions.fitting.probe import LeakageMeter, score_spreads


def test_leakage_is_measured_in_spreads(probe, samples, perception) -> None:
    ws = probe.spread_ws(samples.w[:32])
    age = Direction("age", perception.age)
    leakage = LeakageMeter(probe, ws, own="age", spreads={"age": 4.0, "yaw": 2.0}).measure(age, 0.5)
    assert leakage.own == pytest.approx(8 * 1.0 / 4, rel=1e-4)
    assert leakage.others["yaw"] == pytest.approx(0, abs=1e-4)
    assert leakage.identity == pytest.approx(0, abs=1e-4)


def test_spreads_are_bounded_by_the_unit(samples) -> None:
    still = {"age": np.full(10, 30.0), "smile": np.linspace(0, 1, 10), "unknown": np.full(10, np.nan)}
    found = score_spreads(still, {"age": "years", "smile": "probability"})
    assert found == {"age": 5.0, "smile": pytest.approx(float(np.linspace(0, 1, 10).std()))}


def test_every_score_has_a_unit(probe, samples) -> None:
    assert probe.units.keys() == probe.scores(probe.spread_ws(samples.w[:2])).keys()
    assert probe.units["brightness"] == "brightness"
