"""Directions that come with the package: a folder for each model, found by name and by fingerprint."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentedit.directions import Direction, list_directions
from latentedit.errors import FingerprintError
from latentedit.models import load_model, save_model, shipped_directions
from latentedit.models.locations import EMBEDDED, shipped_for
from latentedit.networks import fingerprint


def test_the_embedded_models_are_its_own() -> None:
    model = load_model()
    folder = shipped_directions(EMBEDDED)
    assert folder is not None
    assert model.directions == folder == shipped_for(model.fingerprint)
    for path in folder.glob("*.safetensors"):
        assert Direction.load(path, model).name == path.stem
    assert shipped_directions("nobody") is None
    assert shipped_for("feed") is None


def test_a_copy_carries_them_along_and_finds_them_without(tmp_path: Path) -> None:
    model = load_model()
    parts = replace(model, encoder=None, perception=None)
    copied = save_model(tmp_path / "copy", parts)
    assert copied.directions == tmp_path / "copy" / "directions"
    assert set(list_directions(copied)) == set(list_directions(model))
    moved = {name: Direction.load(path, copied).fingerprint for name, path in list_directions(copied).items()}
    assert set(moved.values()) == {copied.fingerprint}
    bare = save_model(tmp_path / "bare", replace(parts, directions=None))
    assert bare.directions == shipped_directions()


def test_directions_follow_rounded_weights(tmp_path: Path) -> None:
    generator = copy.deepcopy(load_model().generator)
    generator.synthesis.b8.conv0.weight.data += 1e-5
    exact = replace(load_model(), generator=generator, encoder=None, perception=None, directions=tmp_path / "d")
    exact = replace(exact, fingerprint=fingerprint(generator))
    Direction("age", torch.ones(512), fingerprint=exact.fingerprint).save(tmp_path / "d" / "age")
    Direction("old", torch.ones(512), fingerprint="feed").save(tmp_path / "d" / "old")
    rounded = save_model(tmp_path / "m", exact, dtype=torch.float16)
    assert rounded.fingerprint != exact.fingerprint
    assert Direction.load("age", rounded).fingerprint == rounded.fingerprint
    with pytest.raises(FingerprintError, match="belongs to the generator feed"):
        Direction.load("old", rounded)
