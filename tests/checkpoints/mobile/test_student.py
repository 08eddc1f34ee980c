"""The authors' checkpoint of MobileStyleGAN: read, written back, and read again."""

from __future__ import annotations

from pathlib import Path

import mobile_files as small
import pytest
import torch

from latentedit.checkpoints.mobile.student import to_student
from latentedit.checkpoints.recognise import read_checkpoint
from latentedit.errors import ModelError
from latentedit.models import load_generator
from latentedit.networks import Generator, GeneratorConfig, mapping_fingerprint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(small.checkpoint(small.student(), small.noise_maps()), tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def close(value: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_pictures_and_latents_are_those_of_the_description(path: Path) -> None:
    state = small.student()
    generator = load_generator(path)
    z, ws = torch.randn(3, small.W), torch.randn(3, generator.num_ws, small.W)
    close(generator.synthesis(ws), small.render(state, ws, small.noise_maps()))
    close(generator.mapping(z)[:, 0], small.map_latents(state, z))
    assert torch.equal(generator.mapping.w_avg, torch.full((small.W,), 0.25))


def test_it_shares_its_w_with_the_exported_graphs(path: Path, tmp_path: Path) -> None:
    graphs = small.write_graphs(tmp_path / "graphs", small.student(), small.noise_maps())
    assert mapping_fingerprint(load_generator(path).mapping) == mapping_fingerprint(load_generator(graphs).mapping)


@torch.no_grad()
def test_missing_noise_is_drawn_from_a_seed_and_said(tmp_path: Path) -> None:
    torch.save(small.checkpoint(small.student()), tmp_path / "x")
    checkpoint = read_checkpoint(tmp_path / "x")
    assert checkpoint.notes[0] == "the file has no noise maps; they were drawn from seed 0"
    assert checkpoint.notes[1] == "the heads of its inner levels were left out"
    a, b = (read_checkpoint(tmp_path / "x").generator.build("x") for _ in range(2))
    ws = torch.randn(1, a.num_ws, small.W)
    assert torch.equal(a.synthesis(ws), b.synthesis(ws))
    silent = {name: torch.zeros_like(value) for name, value in small.noise_maps().items()}
    close(a.synthesis(ws, noise_mode="none"), small.render(small.student(), ws, silent))


@torch.no_grad()
def test_the_way_back_means_the_same_in_the_authors_arithmetic(path: Path, tmp_path: Path) -> None:
    generator = load_generator(path)
    theirs = to_student(generator)["state_dict"]
    written = {name.removeprefix("student."): value for name, value in theirs.items() if name.startswith("student.")}
    original = {name: value for name, value in small.student().items() if not name.startswith("mapping.")}
    inner = {name for name in original if "to_img" in name and not name.startswith(f"layers.{small.LEVELS - 1}")}
    assert {name for name in written if not name.endswith("noise.noise")} == set(original) - inner
    assert all(written[name].shape == original[name].shape for name in set(original) - inner)
    assert torch.equal(theirs["mapping_net.layers.2.weight"], small.student()["mapping.2.weight"])
    ws = torch.randn(2, generator.num_ws, small.W)
    close(small.render(written, ws, small.noise_maps()), generator.synthesis(ws))
    torch.save({"state_dict": theirs}, tmp_path / "back.ckpt")
    for name, value in load_generator(tmp_path / "back.ckpt").state_dict().items():
        torch.testing.assert_close(value, generator.state_dict()[name], rtol=1e-6, atol=0)


def test_only_this_family_goes_back() -> None:
    with pytest.raises(ModelError, match="MobileStyleGAN generators only"):
        to_student(Generator(GeneratorConfig(resolution=8, z_dim=3, w_dim=2, channel_base=16)))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("up.modulation", "a later MobileStyleGAN whose wavelet step has no styles"),
        ("mapping_net", "its mapping network is missing"),
        ("layers.1.conv2.bias", "do not fit together"),
        ("style_inv", "do not fit together"),
    ],
)
def test_missing_parts_are_named(gone: str, message: str, tmp_path: Path) -> None:
    content = small.checkpoint(small.student())
    content["state_dict"] = {name: value for name, value in content["state_dict"].items() if gone not in name}  # type: ignore[attr-defined]
    torch.save(content, tmp_path / "x")
    with pytest.raises(ModelError, match=message):
        load_generator(tmp_path / "x")
