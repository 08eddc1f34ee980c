"""What the directions of all attributes share."""

from __future__ import annotations

import pytest

from latentedit.directions import ProcedureConfig, fit_attributes


def test_kin_are_not_held_still_against_each_other(probe, samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentedit.directions.fitting.study.KIN", (frozenset({"age", "smile"}),))
    config = ProcedureConfig(watch=("age", "yaw"), layers=None, way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    assert "age" not in smile.settings["conditioned_on"]
    assert "age" not in smile.metrics["leakage"]
