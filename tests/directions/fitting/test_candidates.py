"""Ways to move, and what is projected out of them."""

from __future__ import annotations

import torch

from latentedit.directions import ProcedureConfig, fit_attributes


def test_naming_the_conditions_projects_exactly_these(probe, samples) -> None:
    config = ProcedureConfig(watch=("age", "yaw"), condition=("age", "yaw"), layers=None, way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    assert smile.settings["conditioned_on"] == ["age", "yaw"]
    assert smile.layers is None
    assert abs(float(smile.normal @ probe.perception.age)) < 0.03


def test_no_conditions_and_the_normal_is_the_machines_own(probe, samples) -> None:
    config = ProcedureConfig(watch=(), condition=(), layers="0-3", way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    torch.testing.assert_close(smile.normal, smile.svm_normal)
    assert smile.layers == (0, 1, 2, 3)
