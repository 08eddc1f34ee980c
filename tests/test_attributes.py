"""The table of attributes: one name for each, and one even scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit import attributes
from latentedit.attributes import CERTAIN, GROUPS, TABLE, UNITS, canonical, even, find, get, resolve, uneven
from latentedit.errors import DirectionError, UnknownAttributeError


def test_every_name_and_alias_means_one_attribute() -> None:
    names = [name for attribute in TABLE for name in (attribute.name, *attribute.aliases)]
    assert len(names) == len(set(names))
    assert all(name == attributes.plain(name) for name in names)
    assert {attribute.group for attribute in TABLE} == set(GROUPS)
    assert {attribute.unit for attribute in TABLE} == set(UNITS)
    assert all(attribute.see and attribute.tolerance > 0 for attribute in TABLE)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("male", "gender"), ("Gender", "gender"), ("Heavy Makeup ", "makeup"), ("glasses", "eyeglasses"),
        ("wearing-hat", "hat"), ("grey hair", "gray_hair"), ("mouth_slightly_open", "mouth_open"),
        ("light", "brightness"), ("dimple", "dimple"), ("Big Dimple", "big_dimple"),
    ],
)  # fmt: skip
def test_names_are_resolved(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_what_the_models_of_the_future_edit_is_in_the_table() -> None:
    wanted = (
        "age smile eyeglasses gender makeup lipstick beard bald bangs black_hair blond_hair gray_hair mouth_open "
        "yaw pitch roll light mask"
    )
    assert all(get(name) is not None for name in wanted.split())


def test_the_known_one_is_found_under_either_name() -> None:
    assert find("gender", ["age", "male"]) == "male"
    assert find("male", ["age", "gender"]) == "gender"
    assert find("male", ["gender", "male"]) == "male", "an exact match wins"
    assert find("Dimple", ["dimple"]) == "dimple"
    assert find("smile", ["age"]) is None


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ("stylegan_ffhq_age_w_boundary", "age"), ("Eyeglasses-direction", "eyeglasses"), ("mouth_open_2", "mouth_open"),
        ("glasses_and_age", None), ("average", None), ("male", "gender"),
    ],
)  # fmt: skip
def test_attributes_are_found_in_the_names_of_files(text: str, attribute: str | None) -> None:
    assert attributes.mentioned(text) == attribute


def test_unknown_ones_are_told_with_the_nearest_and_what_there_is() -> None:
    with pytest.raises(UnknownAttributeError) as caught:
        resolve("simle", ["age", "smile"])
    assert str(caught.value) == "Unknown attribute 'simle'. Did you mean 'smile'? Known: age, smile."
    assert isinstance(caught.value, DirectionError)
    with pytest.raises(UnknownAttributeError, match=r"Did you mean 'eyeglasses'"):
        resolve("glases", ["age", "eyeglasses"])  # spelt most like an alias
    with pytest.raises(UnknownAttributeError, match=r"Unknown attribute 'halo'\. There are none\."):
        resolve("halo", [])
    with pytest.raises(UnknownAttributeError, match=r"'halo'\. Fit it\.$"):
        resolve("halo", ["age"], remedy="Fit it.")


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_the_even_scale_is_log_odds_that_end_where_nothing_is_seen_any_more(kind) -> None:
    values = even(kind([0.2, 0.5, 0.8, 0.0, 1.0]), "probability")
    end = np.log(CERTAIN / (1 - CERTAIN))
    np.testing.assert_allclose(np.asarray(values), [-np.log(4), 0, np.log(4), -end, end], atol=1e-6)
    np.testing.assert_allclose(np.asarray(uneven(values, "probability")), [0.2, 0.5, 0.8, 0.005, 0.995], atol=1e-7)
    years = kind([20.0, 150.0])
    np.testing.assert_array_equal(np.asarray(even(years, "years")), [20, 150])
    np.testing.assert_array_equal(np.asarray(uneven(years, "years")), [20, 150])


def test_tolerance_of_a_probability_is_what_its_text_says() -> None:
    near = uneven(even(np.array([0.8]), "probability") + UNITS["probability"].tolerance, "probability")
    assert near[0] - 0.8 == pytest.approx(0.024, abs=0.002)
    assert attributes.get_unit("furlongs").tolerance == 1.0
