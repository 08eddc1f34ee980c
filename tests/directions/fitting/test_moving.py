"""What moving along a direction does: typical steps, and calibrations by moving."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentedit.directions import Direction, ProcedureConfig, fit_attributes
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.moving import calibrate_by_moving, typical_step
from latentedit.directions.fitting.probe import LeakageMeter, Probe
from latentedit.errors import DirectionError


def test_a_direction_without_effect_is_refused(probe, samples) -> None:
    labels = np.random.default_rng(0).standard_normal(len(samples))
    # Shuffled ages teach a direction that has nothing to do with age; pointing it down makes the score fall.
    fooled = LabelledLatents(samples.w, {"age": -samples.scores["age"] + 0.01 * labels}, {"age": "years"}, None)
    with pytest.raises(DirectionError, match="does not raise its score"):
        fit_attributes(probe, fooled, ["age"], config=ProcedureConfig(watch=(), way="normal", probes=8))


def test_scores_that_turn_back_far_out_are_left_out_of_the_calibration(probe, samples, perception) -> None:
    """Broken pictures score anything: here they look old at the young end, and young at the old one."""

    def look(images: torch.Tensor) -> SimpleNamespace:
        age = perception.perceive(images).scores()["age"]
        return SimpleNamespace(scores=lambda: {"age": torch.where((age - 40).abs() > 30, 80 - age + 40, age)})

    broken = SimpleNamespace(perceive=look)
    ws = probe.spread_ws(samples.w[:32])
    direction = Direction("age", perception.age, unit="years")
    found = calibrate_by_moving(Probe(probe.generator, broken), direction, ws, score="age", half=6.0, points=25)
    assert found.scores[0] >= 10
    assert found.scores[-1] <= 70
    assert found.slope == pytest.approx(8, rel=0.05)


def test_a_typical_step_makes_half_the_range_or_a_spread_of_the_score(probe, samples, perception) -> None:
    ws = probe.spread_ws(samples.w[:32])
    meter = LeakageMeter(probe, ws, own="age", spreads={"age": 8.0})
    step, leakage = typical_step(meter, Direction("age", perception.age, unit="years"), 0.5)
    assert leakage.own >= 2
    assert leakage.own == pytest.approx(2 * step * 8 / 8, rel=1e-3), "age rises by 8 per unit of distance"
    assert step in (0.5, 0.5 * 1.75, 1.5, 0.5 * 4.5)
    with pytest.raises(DirectionError, match="does not raise its score"):
        typical_step(meter, Direction("age", -perception.age, unit="years"), 0.5)
