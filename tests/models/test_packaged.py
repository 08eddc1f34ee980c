"""The model whose generator comes with another package, and which model is the default."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mobile_files
import numpy as np
import pytest
import torch

from latentedit.errors import ModelError
from latentedit.models import folder as folder_module
from latentedit.models import load_generator, load_model, loading, locations, packaged, save_network
from latentedit.models.folder import read_manifest, verify_folder, write_manifest
from latentedit.models.locations import bundled_folder, default_model, package_folder, packaged_weights
from latentedit.models.model import Model
from latentedit.networks import Encoder, EncoderConfig, fingerprint, mapping_fingerprint

PACKAGE = "face_package_for_this_test"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the graphs of a small network, which fails where it is imported."""
    folder = tmp_path / "site" / PACKAGE
    mobile_files.write_graphs(folder / "data", mobile_files.student(), mobile_files.noise_maps())
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(locations, "PACKAGE", PACKAGE)
    return folder


@pytest.fixture
def bundle(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What this package has beside those weights: an encoder, a card, directions."""
    folder = tmp_path / "assets" / "ffhq"
    generator = load_generator(weights)
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=generator.num_ws, w_dim=mobile_files.W, channels=(8, 8, 8)))
    digest = fingerprint(generator)
    save_network(folder / "encoder.safetensors", encoder, extra={"generator": digest})
    (folder / "MODEL_CARD.md").write_text("card")
    write_manifest(folder, Model("ffhq", generator, licence="terms"))
    directions = tmp_path / "directions"
    directions.mkdir()
    real = locations.bundled_folder
    for module in (locations, loading, packaged):
        monkeypatch.setattr(module, "bundled_folder", lambda name: folder if name == "ffhq" else real(name))
    shipped = locations.shipped_directions
    monkeypatch.setattr(
        locations, "shipped_directions", lambda name="faces64": directions if name == "ffhq" else shipped(name)
    )
    real_for = folder_module.shipped_for
    monkeypatch.setattr(
        folder_module, "shipped_for", lambda own, mapping="": directions if own == digest else real_for(own, mapping)
    )
    monkeypatch.setattr(packaged, "_noticed", False)
    monkeypatch.delenv("LATENTEDIT_MODEL", raising=False)
    monkeypatch.setattr(loading, "_bundled", {})
    monkeypatch.setattr(loading, "_seeing", {})
    yield folder
    assert PACKAGE not in sys.modules


def test_generator_and_parts_come_together(bundle: Path, weights: Path) -> None:
    model = load_model("ffhq")
    assert (model.name, model.card, model.licence, model.path) == ("ffhq", "card", "terms", weights)
    assert model.resolution == mobile_files.SIDE
    assert isinstance(model.encoder, Encoder)
    assert model.directions is not None
    assert model.directions.name == "directions"
    assert model.perception is not None
    assert (model.template.scale, model.template.shift) == (1, 0)
    embedded = load_model("faces64")
    images = torch.randn(1, 3, 64, 64)
    seen = embedded.require("perception").for_template(1, 0).perceive(images)
    assert torch.equal(model.perception.perceive(images).identity, seen.identity)
    assert load_model("ffhq") is model
    assert load_generator("ffhq") is model.generator


def test_it_is_the_default_where_everything_is_there(bundle: Path, weights: Path) -> None:
    assert default_model() == "ffhq"
    assert load_model().name == "ffhq"
    assert load_generator().resolution == mobile_files.SIDE
    (bundle / "encoder.safetensors").unlink()
    assert default_model() == "faces64"


def test_the_fallback_is_said_once(bundle: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(weights)
    message = r"The weights of 'ffhq' \(1024 px\) are not here; the embedded 'faces64' .*latentedit model download ffhq"
    with pytest.warns(UserWarning, match=message) as seen:
        assert load_generator().resolution == 64
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model().name == "faces64"
        monkeypatch.setattr(packaged, "_noticed", False)
        assert load_model("faces64").name == "faces64"  # asked for by name
        monkeypatch.setenv("LATENTEDIT_MODEL", "faces64")
        assert load_model().name == "faces64"
    with pytest.raises(ModelError, match=r"weights of 'ffhq' are not here.*latentedit model download ffhq"):
        load_generator("ffhq")


def test_the_environment_decides_over_both(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load_generator("faces64")
    save_network(tmp_path / "mine.safetensors", generator)
    monkeypatch.setenv("LATENTEDIT_MODEL", str(tmp_path / "mine.safetensors"))
    assert load_model().name == "mine"


def test_a_wheel_that_was_downloaded_serves_as_well(bundle: Path, weights: Path) -> None:
    expected = load_generator("ffhq").synthesis.stored_noise("b8.conv0")
    wheel = locations.weights_folder() / locations.WHEEL
    wheel.parent.mkdir(parents=True)
    shutil.make_archive(str(wheel.with_suffix("")), "zip", weights.parent)
    wheel.with_suffix(".zip").rename(wheel)
    shutil.rmtree(weights)
    loading._bundled.clear()
    assert packaged_weights() == wheel
    assert torch.equal(load_generator("ffhq").synthesis.stored_noise("b8.conv0"), expected)


def test_other_weights_than_the_parts_belong_to_are_refused(bundle: Path, weights: Path) -> None:
    mobile_files.write_graphs(weights / "data", mobile_files.student(5), mobile_files.noise_maps())
    with pytest.raises(ModelError, match=r"holds the generator \w{16}; the parts of 'ffhq' belong to \w{16}"):
        load_model("ffhq")


def test_a_part_of_another_generator_is_refused(bundle: Path) -> None:
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=10, w_dim=mobile_files.W, channels=(8, 8, 8)))
    save_network(bundle / "encoder.safetensors", encoder, extra={"generator": "0123456789abcdef"})
    with pytest.raises(ModelError, match=r"The encoder in .* belongs to the generator 0123456789abcdef"):
        load_model("ffhq")


def test_it_can_be_copied_under_another_name(bundle: Path, tmp_path: Path) -> None:
    from latentedit.models import save_model

    copied = save_model(tmp_path / "copy", replace(load_model("ffhq"), name="copy", perception=None))
    assert copied.fingerprint == load_model("ffhq").fingerprint
    assert (tmp_path / "copy" / "generator.safetensors").is_file()


# --- the real one -----------------------------------------------------------------------------------------------------


def test_its_shipped_parts_have_the_hashes_that_are_written_down() -> None:
    folder = bundled_folder("ffhq")
    verify_folder(folder)
    listed = set(read_manifest(folder)["files"])
    assert listed == {path.name for path in folder.glob("*.safetensors")}
    assert "generator.safetensors" not in listed
    assert "research and non-commercial" in (folder / "MODEL_CARD.md").read_text()


@pytest.mark.skipif(package_folder() is None, reason="random-face is not installed")
def test_the_published_weights_are_those_that_everything_else_belongs_to() -> None:
    generator = load_generator("ffhq")
    assert fingerprint(generator) == read_manifest(bundled_folder("ffhq"))["fingerprint"]
    assert mapping_fingerprint(generator.mapping) == "647458c17d702e8c"
    assert "random_face" not in sys.modules
    z = torch.from_numpy(np.random.RandomState(1).randn(4000, 512)).float()
    with torch.no_grad():
        w = generator.mapping(z)[:, 0]
    spread = float(w.std(0).mean())
    torch.testing.assert_close(generator.mapping.w_avg, w.mean(0), rtol=0, atol=6 * spread / 4000**0.5)
