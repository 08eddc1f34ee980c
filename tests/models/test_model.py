"""`Model`: its parts, where its directions are, and its public ways in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import CONFIG

from latentedit.directions import Direction, list_directions
from latentedit.errors import FingerprintError, ModelError
from latentedit.models import Model, data_folder
from latentedit.models.parts import Deferred
from latentedit.networks import Generator


def test_missing_part_names_the_remedy(model: Model) -> None:
    with pytest.raises(ModelError, match=r"'tiny' has no perception.*latentedit model add"):
        model.require("perception")
    assert model.require("encoder") is model.encoder


def test_users_own_directions_come_first(model: Model, tmp_path: Path) -> None:
    own = model.user_directions
    assert own == data_folder() / "directions" / model.fingerprint
    assert model.direction_folders == ()
    own.mkdir(parents=True)
    shipped = replace(model, directions=tmp_path)
    assert shipped.direction_folders == (own, tmp_path)


def student_of(teacher: Generator, **changes) -> Generator:
    """Another generator with the teacher's mapping network, and so its W."""
    torch.manual_seed(5)
    student = Generator(replace(teacher.config, **changes)).eval()
    student.mapping.load_state_dict(teacher.mapping.state_dict())
    return student


def test_from_pretrained_reads_what_save_pretrained_wrote(model: Model, tmp_path: Path) -> None:
    saved = model.save_pretrained(tmp_path / "m", dtype=torch.float16)
    loaded = Model.from_pretrained(tmp_path / "m")
    assert (loaded.name, loaded.fingerprint, loaded.card) == (model.name, saved.fingerprint, model.card)
    assert Model.from_pretrained().name == Model.from_pretrained("faces64").name == "faces64"
    with pytest.raises(ModelError, match="There is no model 'nobody'"):
        Model.from_pretrained("nobody")


def test_showing_a_model_builds_nothing(model: Model) -> None:
    shown = repr(replace(model, encoder=Deferred(lambda: 1 // 0)))
    assert shown == f"Model('tiny', Generator, 16 px, {model.fingerprint})"


def test_a_missing_part_says_why_it_was_left_out(model: Model) -> None:
    bare = replace(model, encoder=None, notes=("the encoder was left out: it takes 19 channels", "no noise"))
    with pytest.raises(ModelError, match=r"has no encoder \(the encoder was left out: it takes 19 channels\)\."):
        bare.require("encoder")


def test_generators_that_share_w_share_directions(model: Model, tmp_path: Path) -> None:
    teacher = Model("teacher", model.generator)
    student = Model("student", student_of(model.generator, channel_max=8))
    other = Model("other", Generator(CONFIG))
    assert student.fingerprint != teacher.fingerprint
    assert student.mapping_fingerprint == teacher.mapping_fingerprint != other.mapping_fingerprint
    fitted = Direction("age", torch.ones(24), fingerprint=teacher.fingerprint, mapping=teacher.mapping_fingerprint)
    fitted.save(teacher.user_directions / "age")
    assert student.direction_folders == (teacher.user_directions,)
    assert Direction.load("age", student).fingerprint == teacher.fingerprint
    assert list_directions(other) == {}
    with pytest.raises(FingerprintError, match="belongs to the generator"):
        Direction.load(teacher.user_directions / "age.safetensors", other)


@pytest.mark.parametrize(("resolution", "rows"), [(8, [0, 1, 2, 3]), (32, [0, 1, 2, 3, 4, 5, 5, 5])])
def test_rows_of_equal_resolution_are_matched(resolution: int, rows: list[int], model: Model) -> None:
    student = Model("student", student_of(model.generator, resolution=resolution))
    normal = torch.randn(6, 24)
    direction = Direction(
        "age", normal, layers=(1, 5), fingerprint=model.fingerprint, mapping=model.mapping_fingerprint
    )
    matched = direction.of(student)
    direction = direction.normal[rows]
    torch.testing.assert_close(matched.normal, direction / direction.square().sum(1).mean().sqrt())
    assert matched.layers == ((1,) if resolution == 8 else (1, 5))
