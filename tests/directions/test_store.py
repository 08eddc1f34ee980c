"""Where directions are found: names, aliases, and whose they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentedit.directions import (
    Direction,
    list_directions,
    load_direction,
    save_directions,
)
from latentedit.directions.store import listed_directions, remove_direction
from latentedit.errors import DirectionError, FingerprintError, UnknownAttributeError


@pytest.fixture
def owner(tmp_path: Path) -> SimpleNamespace:
    """A model with directions of its own and of the user's."""
    came, own = tmp_path / "came", tmp_path / "own"
    save_directions({name: Direction(name, torch.ones(4), fingerprint="f") for name in ("age", "gender")}, came)
    save_directions({"age": Direction("age", torch.tensor([1.0, 0, 0, 0]), fingerprint="f")}, own)
    (came / ".half-written.safetensors").write_bytes(b"")
    return SimpleNamespace(
        name="toy",
        fingerprint="f",
        mapping_fingerprint="m",
        direction_folders=(own, came),
        directions=came,
        user_directions=own,
    )


def test_the_users_own_directions_come_first(owner) -> None:
    assert {name: path.parent.name for name, path in list_directions(owner).items()} == {"age": "own", "gender": "came"}
    assert float(load_direction("age", owner).normal[0]) == 1


def test_who_made_a_direction_and_what_it_hides(owner) -> None:
    found = listed_directions(owner)
    assert {name: (one.yours, one.shadows) for name, one in found.items()} == {
        "age": (True, owner.directions / "age.safetensors"), "gender": (False, None),
    }  # fmt: skip


def test_only_the_users_own_can_be_removed(owner) -> None:
    gone = remove_direction("Age", owner)
    assert gone.yours
    assert not gone.path.exists()
    assert float(load_direction("age", owner).normal[0]) == 0.5, "what it hid counts again"
    for name in ("age", "male"):
        with pytest.raises(DirectionError, match=r"came with the model 'toy' and stays"):
            remove_direction(name, owner)
    with pytest.raises(UnknownAttributeError, match=r"Unknown attribute 'agee'\. Did you mean 'age'"):
        remove_direction("agee", owner)


def test_aliases_find_their_direction(owner) -> None:
    assert load_direction("male", owner).name == "gender"
    assert load_direction("Gender", owner).name == "gender"


def test_unknown_names_list_the_known_ones(owner) -> None:
    with pytest.raises(DirectionError, match=r"Unknown attribute 'halo'.*'toy': age, gender.*fit"):
        Direction.load("halo", owner)
    bare = SimpleNamespace(
        name="bare", fingerprint="f", mapping_fingerprint="m", direction_folders=(), user_directions=None
    )
    with pytest.raises(DirectionError, match="'bare' has none"):
        Direction.load("age", bare)  # type: ignore[arg-type]


def test_directions_of_another_generator_are_refused(owner) -> None:
    owner.fingerprint = "g"
    with pytest.raises(FingerprintError, match="belongs to the generator f, not to g"):
        load_direction("age", owner)
    with pytest.raises(FingerprintError, match="belongs to the generator f, not to g"):
        load_direction(owner.directions / "age.safetensors", owner)
    assert load_direction(owner.directions / "age.safetensors").name == "age"


def test_names_must_be_typeable(tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match=r"'\.\./age' cannot be the name"):
        save_directions({"../age": Direction("x", torch.ones(4))}, tmp_path)
