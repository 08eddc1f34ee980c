"""What directions that nobody labelled do, measured where the truth is known, and their names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from latentedit.directions import Direction
from latentedit.directions.fitting.probe import Probe
from latentedit.directions.found import Found, describe_found, measure_found, name_found, named

UNITS = {"age": "years", "smile": "probability", "yaw": "degrees", "gender": "probability", "big_nose": "probability",
         "high_cheekbones": "probability", "brightness": "brightness", "makeup": "probability",
         "lipstick": "probability"}  # fmt: skip


def found(effects: dict[str, float], regions: tuple[tuple[str, float, float], ...] = (("hair", 0.3, 1.2),)) -> Found:
    return Found(Direction("pc0", torch.ones(4)), "pca", 1.0, tuple(effects.items()), regions, 0.2, 0.3)


@pytest.mark.parametrize(
    ("effects", "name"),
    [
        ({"age": 12.0}, "age"),
        ({"age": 12.0, "gender": 0.9}, "age_gender"),
        ({"age": 12.0, "gender": 0.4}, "age"),
        ({"makeup": 0.8, "lipstick": 0.8}, "makeup"),  # one says the other
        ({"age": 1.6}, "hair"),
        ({}, "hair"),
    ],
)
def test_names_are_what_changes_most(effects: dict[str, float], name: str) -> None:
    assert name_found(found(effects), UNITS, ()) == name


def test_what_is_local_is_named_after_its_place_unless_an_attribute_changes_plainly() -> None:
    eyes = (("eyes", 0.74, 9.0), ("face", 0.06, 0.2))
    assert name_found(found({"age": 3.7}, eyes), UNITS, ()) == "eyes"
    assert name_found(found({"smile": 0.8}, eyes), UNITS, ()) == "smile"


def test_names_are_given_once() -> None:
    both = named([found({"age": 12.0}), found({"age": 15.0})], UNITS)
    assert [one.direction.name for one in both] == ["age", "age_2"]
    assert both[1].direction.settings["found"] == {"as": "pc0", "effects": {"age": 15.0}, "regions": {"hair": 0.3}}


def test_a_smile_is_told_before_the_cheekbones_that_it_raises(generator, perception) -> None:
    """The order of effects is that of their weight for a name; see `TELLING`."""
    probe = Probe(generator, perception)
    ws = probe.spread_ws(np.random.RandomState(0).randn(3, 24) * 0.1 + 0.5)
    regions = {"left": np.eye(6, 24, dtype=bool), "rest": ~np.eye(6, 24, dtype=bool)}
    result = measure_found(probe, Direction("d", -perception.age), ws, method="pca", step=0.5, regions=regions)
    torch.testing.assert_close(result.direction.normal, perception.age)  # turned: more is more
    assert result.effects[0] == ("age", pytest.approx(8.0, abs=1e-2)), "8 years per unit, moved by 0.5 each way"
    assert dict(result.effects)["smile"] == pytest.approx(0.25, abs=0.05)
    assert "yaw" not in dict(result.effects)
    assert result.identity == pytest.approx(0, abs=1e-3)


def test_shares_of_the_picture_add_up_and_say_how_dense_the_change_is(generator, perception) -> None:
    """The toy draws ws: a move along one axis of w changes one column of the picture."""
    probe = Probe(generator, perception)
    ws = probe.spread_ws(np.full((2, 24), 0.5))
    column = np.zeros((6, 24), bool)
    column[:, 5] = True
    axis = torch.zeros(24)
    axis[5] = 1
    result = measure_found(
        probe, Direction("d", axis), ws, method="sefa", step=1.0, regions={"rest": ~column, "column": column}
    )
    assert [row[0] for row in result.regions] == ["column", "rest"]
    assert result.regions[0][1:] == (1.0, 24.0)
    assert result.change == pytest.approx(2 / 16 / 24**0.5, rel=1e-4)


def test_it_is_told_in_one_line_and_in_json() -> None:
    result = found({"age": 12.34, "smile": -0.456, "big_nose": 0.5}, (("mouth", 0.6, 8.0), ("nose", 0.2, 3.0)))
    assert describe_found(result, UNITS) == (
        "age +12.3 years, smile -0.46, big nose +0.50; mouth 60%, nose 20%; identity 0.30"
    )
    assert json.loads(json.dumps(result.to_dict()))["effects"][0] == ["age", 12.34]
    assert describe_found(found({}), UNITS).startswith("nothing that has a name; hair 30%")
