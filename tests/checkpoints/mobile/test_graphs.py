"""Exported graphs of MobileStyleGAN, from every place where they may lie, against the arithmetic of the description."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import mobile_files as small
import pytest
import torch

from latentedit.checkpoints.recognise import read_checkpoint
from latentedit.errors import ModelError
from latentedit.models import load_generator, load_model
from latentedit.networks import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small.write_graphs(tmp_path / "graphs", small.student(), small.noise_maps())


def wheel(folder: Path, path: Path, place: str = "random_face/data/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("random_face/__init__.py", "raise RuntimeError('imported')")
        for file in folder.iterdir():
            archive.write(file, place + file.name)
    return path


def test_pictures_and_latents_are_those_of_the_description(folder: Path) -> None:
    state, maps = small.student(), small.noise_maps()
    generator = load_generator(folder)
    z = torch.randn(3, small.W)
    ws = torch.randn(3, generator.num_ws, small.W)
    expected = small.render(state, ws, maps)
    with torch.no_grad():
        torch.testing.assert_close(generator.mapping(z)[:, 0], small.map_latents(state, z), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(generator.synthesis(ws), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert generator.resolution == small.SIDE == 64
    assert generator.num_ws == 10


def test_strength_of_noise_is_told_apart_from_its_map(folder: Path) -> None:
    state = small.student()
    generator = load_generator(folder)
    strength = generator.synthesis.b16.conv1.noise_strength
    torch.testing.assert_close(strength, state["layers.1.conv2.noise.weight"].reshape([]))
    torch.testing.assert_close(generator.synthesis.b16.conv1.noise_const, small.noise_maps()["layers.1.conv2"])


def test_average_is_that_of_many_latents_and_the_same_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentedit.checkpoints.mobile.average.WORTH_KEEPING", 1)
    monkeypatch.setenv("LATENTEDIT_CACHE", str(tmp_path / "cache"))
    first = load_generator(folder).mapping.w_avg
    kept = list((tmp_path / "cache" / "averages").iterdir())
    assert len(kept) == 1
    assert torch.equal(load_generator(folder).mapping.w_avg, first)
    z = torch.randn(40_000, small.W, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(first, small.map_latents(small.student(), z).mean(0), rtol=0, atol=0.03)
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"x")  # damage is noticed, and mended
    assert torch.equal(load_generator(folder).mapping.w_avg, first)


def test_a_cache_that_cannot_be_written_changes_nothing(folder: Path, tmp_path: Path, monkeypatch) -> None:
    expected = load_generator(folder).mapping.w_avg
    monkeypatch.setattr("latentedit.checkpoints.mobile.average.WORTH_KEEPING", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LATENTEDIT_CACHE", str(tmp_path / "file"))
    assert torch.equal(load_generator(folder).mapping.w_avg, expected)


def test_every_place_gives_the_same_generator(folder: Path, tmp_path: Path) -> None:
    expected = fingerprint(load_generator(folder))
    package = tmp_path / "package"
    shutil.copytree(folder, package / "data")
    sources = [
        package,
        folder / "MappingNetwork.xml",
        folder / "SynthesisNetwork.xml",
        folder / "SynthesisNetwork.bin",
        wheel(folder, tmp_path / "x.whl"),
        wheel(folder, tmp_path / "y", place=""),
    ]
    for source in sources:
        assert fingerprint(load_generator(source)) == expected
        assert read_checkpoint(source).kind == "OpenVINO IR, MobileStyleGAN"
    assert load_model(sources[-2]).name == "x"


def test_names_of_files_do_not_matter(folder: Path) -> None:
    expected = fingerprint(load_generator(folder))
    for old, new in (("MappingNetwork", "a"), ("SynthesisNetwork", "b")):
        (folder / f"{old}.xml").rename(folder / f"{new}.xml")
        (folder / f"{old}.bin").rename(folder / f"{new}.bin")
    (folder / "notes.xml").write_text("<?xml version='1.0'?><notes/>")
    assert fingerprint(load_generator(folder)) == expected


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("MappingNetwork.xml", "holds 1 synthesis and 0 mapping networks"),
        ("SynthesisNetwork.xml", "holds 0 synthesis and 1 mapping networks"),
        ("SynthesisNetwork.bin", r"A graph needs its \.bin beside its \.xml"),
    ],
)
def test_what_is_missing_is_named(missing: str, message: str, folder: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=message):
        load_generator(folder)


def test_a_folder_without_graphs_is_told_what_a_model_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no model folder: it has no model\.json"):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="m.layers.1.conv2.bias"', 'name="other"', "it has no constant 'm.layers.1.conv2.bias'"),
        ('type="Convolution"', 'type="Convolution3D"', "holds 1 synthesis and 2 mapping networks"),
        ('element_type="f32" shape="12, 1, 1, 3, 3"', 'element_type="u1" shape="12, 1, 1, 3, 3"', "is not described"),
        ('shape="12, 6"', 'shape="6, 12"', "do not fit"),
    ],
)
def test_graphs_of_another_kind_are_refused(old: str, new: str, message: str, folder: Path) -> None:
    path = folder / "SynthesisNetwork.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        load_generator(folder)


def test_other_arithmetic_under_the_same_names_is_refused(folder: Path) -> None:
    path = folder / "MappingNetwork.bin"
    content = path.read_bytes()
    slope, other = (torch.tensor([value]).numpy().tobytes() for value in (0.2, 0.1))
    path.write_bytes(content.replace(slope, other))
    with pytest.raises(ModelError, match=r"where this network has 0\.2"):
        load_generator(folder)
