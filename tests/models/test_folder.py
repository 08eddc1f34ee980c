"""The model folder: written, read, verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import CONFIG

from latentedit.directions import Direction
from latentedit.errors import ModelError
from latentedit.files import read_metadata
from latentedit.models import Model, load_generator, load_model, save_model
from latentedit.models.folder import verify_folder
from latentedit.networks import Generator, fingerprint, mapping_fingerprint


def test_model_folder_round_trip(model: Model, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    save_file({"normal": torch.ones(24)}, tmp_path / "source" / "age.safetensors")
    save_model(tmp_path / "m", replace(model, directions=tmp_path / "source"))
    loaded = load_model(tmp_path / "m")
    assert (loaded.name, loaded.template, loaded.card, loaded.licence) == (
        "tiny",
        model.template,
        "# Tiny\n",
        "CC0-1.0",
    )
    assert loaded.fingerprint == model.fingerprint == fingerprint(loaded.generator)
    assert loaded.directions == tmp_path / "m" / "directions"
    assert (loaded.directions / "age.safetensors").is_file()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded.encoder(x), model.encoder.eval()(x))
    assert fingerprint(load_generator(tmp_path / "m")) == model.fingerprint
    assert fingerprint(load_generator(tmp_path / "m" / "generator.safetensors")) == model.fingerprint
    verify_folder(tmp_path / "m")


def test_saving_without_an_encoder_removes_the_earlier_one(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    assert save_model(tmp_path / "m", replace(model, encoder=None)).encoder is None
    assert not (tmp_path / "m" / "encoder.safetensors").exists()


def test_encoder_of_another_generator_is_refused(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "a", model)
    save_model(tmp_path / "b", replace(model, generator=Generator(CONFIG), fingerprint=""))
    (tmp_path / "a" / "encoder.safetensors").write_bytes((tmp_path / "b" / "encoder.safetensors").read_bytes())
    with pytest.raises(ModelError, match="belongs to the generator"):
        load_model(tmp_path / "a")


def test_a_changed_file_is_told_by_its_hash_and_its_digest(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    path = tmp_path / "m" / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="digest"):
        load_model(tmp_path / "m")
    with pytest.raises(ModelError, match="SHA-256"):
        verify_folder(tmp_path / "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "does not describe"),
        ('{"format": "other"}', "does not describe"),
        ('{"format": "latentedit-model", "version": 9}', "unknown version 9"),
        ('{"format": "latentedit-model", "version": 1, "template": {"scale": -1}}', "crop template"),
    ],
)
def test_damaged_manifest(content: str, message: str, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    (tmp_path / "m" / "model.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m")


def test_listed_part_that_is_missing(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    (tmp_path / "m" / "encoder.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no file .*encoder\.safetensors"):
        load_model(tmp_path / "m")


def test_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.json"):
        load_model(tmp_path)


def test_manifest_holds_hashes_and_sizes(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model, dtype=torch.float16)
    manifest = json.loads((tmp_path / "m" / "model.json").read_text())
    assert set(manifest["files"]) == {"generator.safetensors", "encoder.safetensors"}
    for name, entry in manifest["files"].items():
        assert entry["bytes"] == (tmp_path / "m" / name).stat().st_size
    assert manifest["resolution"] == 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_directions_go_along_and_belong_to_the_saved_generator(model: Model, dtype, tmp_path: Path) -> None:
    for name, owner in (("age", model.fingerprint), ("smile", "another")):
        Direction(name, torch.ones(24), fingerprint=owner).save(tmp_path / "source" / name)
    loaded = save_model(tmp_path / "m", replace(model, directions=tmp_path / "source"), dtype=dtype)
    assert (loaded.fingerprint == model.fingerprint) == (dtype == torch.float32)
    assert loaded.mapping_fingerprint == model.mapping_fingerprint == mapping_fingerprint(model.generator.mapping)
    owners = {path.stem: read_metadata(path)["fingerprint"] for path in loaded.require("directions").iterdir()}
    assert owners == {"age": loaded.fingerprint, "smile": "another"}
    again = save_model(tmp_path / "n", loaded)
    assert Direction.load("age", again).fingerprint == again.fingerprint


def test_encoder_and_perception_are_read_when_they_are_asked_for(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    path = tmp_path / "m" / "encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    loaded = load_model(tmp_path / "m")
    assert loaded.has("encoder")
    with pytest.raises(ModelError, match="digest"):
        loaded.require("encoder")
