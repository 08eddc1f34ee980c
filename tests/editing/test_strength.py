"""How far to go: calibrations, corrections on the face itself, and where an edit stops."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit.directions import Calibration, Direction, OutOfRangeWarning
from latentedit.editing import edit
from latentedit.editing.strength import move
from latentedit.errors import (
    ModelError,
)
from latentedit.models import Model
from latentedit.networks import Generator


def direction(model: Model, name: str) -> Direction:
    return Direction.load(model.directions / f"{name}.safetensors", model)


@pytest.mark.parametrize("target", [0.2, 0.8])
def test_scores_are_reached_although_the_calibration_is_wrong(model: Model, ws: Tensor, judge, target: float) -> None:
    changed = edit(ws, model=model, smile=target)
    reached = [metrics["asked"]["smile"]["after"] for metrics in changed.all_metrics]
    assert np.allclose(reached, target, atol=0.025)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blind = edit(ws, model=model, smile=target, verify=False)
    missed = [abs(metrics["asked"]["smile"]["after"] - target) for metrics in blind.all_metrics]
    assert max(missed) > 0.05


def test_several_attributes_are_corrected_together(model: Model, ws: Tensor) -> None:
    changed = edit(ws, model=model, age=+4, smile=0.7)
    for metrics in changed.all_metrics:
        assert metrics["asked"]["age"]["change"] == pytest.approx(4, abs=1)
        assert metrics["asked"]["smile"]["after"] == pytest.approx(0.7, abs=0.035)
        assert set(metrics["others"]) == {"hat"}


def test_what_is_worn_is_put_on_fully_from_a_score_of_095_on(model: Model, ws: Tensor) -> None:
    smile = direction(model, "smile")
    worn = {"mask": smile.with_(name="mask")}
    for amount, factor in ((0.9, 1.0), (0.95, 1.0), (0.975, 1.4), (1.0, 1.8), (0.0, 1.0)):
        plain = edit(ws, model=model, smile=min(amount, 0.95), verify=False).asked["smile"].distance
        fully = edit(ws, model=model, mask=amount, directions=worn, verify=False).asked["mask"].distance
        assert fully == pytest.approx([factor * distance for distance in plain], rel=1e-4)


def test_a_face_beyond_the_measured_ages_is_left_there_and_not_led_back(model: Model, ws: Tensor) -> None:
    age = direction(model, "age")
    score = float(model.perception.perceive(model.generator.synthesis(ws[:1]))["age"])
    calibration = Calibration((-1.0, 1.0), (score - 60, score - 50))
    beyond = {"age": age.with_(calibration=calibration)}
    with pytest.warns(OutOfRangeWarning):
        older = edit(ws[:1], model=model, age=15, directions=beyond)
    assert older.asked["age"].distance == (0.0,)
    assert float(edit(ws[:1], model=model, age=-15, directions=beyond).asked["age"].distance[0]) < 0


def test_verification_costs_a_few_looks(model: Model, ws: Tensor, judge) -> None:
    edit(ws, model=model, age=3, smile=0.6)
    assert 2 <= judge.calls <= 7


def test_without_perception_the_calibration_decides(generator: Generator, model: Model, ws: Tensor) -> None:
    plain = Model(name="plain", generator=generator, directions=model.directions)
    changed = edit(ws, model=plain, age=5)
    own = direction(model, "age")
    torch.testing.assert_close(changed.ws, ws + own.displacement(ws, own.distance_for(ws, 5)))
    with pytest.raises(ModelError, match="'plain' has no perception network"):
        _ = changed.all_metrics
    with pytest.raises(ModelError, match="verify=True needs a perception network"):
        edit(ws, model=plain, age=5, verify=True)


def test_amounts_beyond_the_measured_range_warn_and_stop(model: Model, ws: Tensor) -> None:
    with pytest.warns(UserWarning, match="age would have to reach"):
        changed = edit(ws[:1], model=model, age=500)
    own = direction(model, "age").calibration
    assert abs(changed.asked["age"].distance[0]) <= own.distance_limits[1] - own.distance_limits[0] + 1e-6


def test_move_leaves_its_input_alone(model: Model, ws: Tensor) -> None:
    kept = ws.clone()
    move(ws, [(direction(model, "age"), 3.0)])
    torch.testing.assert_close(ws, kept, atol=0, rtol=0)
