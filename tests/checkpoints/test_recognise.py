"""Generators of every kind of file, told by content, give the images of the reference implementations."""

from __future__ import annotations

import shutil
from pathlib import Path

import checkpoint_vectors as golden
import numpy as np
import pytest
import torch
from foreign_files import HOSTILE_SOURCE, stylegan2_variables, write_nvidia, write_psp, write_tensorflow
from safetensors.torch import save_file

from latentedit.checkpoints.recognise import read_checkpoint
from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.errors import ModelError
from latentedit.models import load_generator, load_model, save_network
from latentedit.networks import Generator, GeneratorConfig, fingerprint
from latentedit.networks.psp_encoder import PspEncoder, PspEncoderConfig, default_sizes

TOLERANCE = 1e-4
SMALL = GeneratorConfig(resolution=32, z_dim=24, w_dim=16, mapping_layers=3, channel_base=256, channel_max=16)


@pytest.fixture
def small() -> Generator:
    torch.manual_seed(1)
    generator = Generator(SMALL).eval().requires_grad_(False)
    for name, value in generator.state_dict().items():
        if name.endswith(("bias", "noise_strength", "w_avg")):
            value.add_(0.1 * torch.randn_like(value))
    return generator


def render(generator: Generator, **options) -> torch.Tensor:
    z = torch.from_numpy(np.random.RandomState(3).randn(2, generator.z_dim)).float()
    with torch.no_grad():
        return generator.synthesis(generator.mapping(z, **options))


def same_pictures(path: Path, original: Generator, tolerance: float = 0) -> None:
    loaded = load_generator(path)
    for options in ({}, {"truncation_psi": 0.5}):
        torch.testing.assert_close(render(loaded, **options), render(original, **options), rtol=0, atol=tolerance)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["sg2ada_skip_64", "sg2ada_cond_32", "sg2ada_resnet_32", "sg2ada_orig_32"])
def test_nvidia_stylegan2_pickle_meets_its_reference(name: str, protocol: int, tmp_path: Path) -> None:
    arrays, meta = golden.load(name)
    trap = tmp_path / "trap"
    path = tmp_path / "model.bin"
    source = HOSTILE_SOURCE.format(str(trap))
    write_nvidia(path, golden.state(arrays), meta["kwargs"], protocol=protocol, source=source)
    generator = load_generator(path)
    c = torch.from_numpy(arrays["c"]) if "c" in arrays.files else None
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(arrays["z"]), c, truncation_psi=0.7, truncation_cutoff=4)
        image = generator.synthesis(ws)
    assert golden.relative_error(ws, arrays["ws_psi07_cut4"]) <= TOLERANCE
    assert golden.relative_error(image, arrays["img_const"]) <= TOLERANCE
    assert not trap.exists()


@pytest.mark.parametrize("name", ["stylegan3_t_32", "stylegan3_r_32"])
def test_nvidia_stylegan3_pickle_meets_its_reference(name: str, tmp_path: Path) -> None:
    arrays, meta = golden.load(name)
    write_nvidia(tmp_path / "x", golden.state(arrays), meta["kwargs"])
    generator = load_generator(tmp_path / "x")
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(arrays["z"]), truncation_psi=0.7)
        assert golden.relative_error(ws, arrays["ws"]) <= TOLERANCE
        assert golden.relative_error(generator.synthesis(ws), arrays["img"]) <= TOLERANCE


def test_tensorflow_stylegan1_pickle_meets_its_reference(tmp_path: Path) -> None:
    arrays, meta = golden.load("stylegan1_128")
    write_tensorflow(tmp_path / "x", golden.stylegan1_variables(meta["variables"]), version=3)
    checkpoint = read_checkpoint(tmp_path / "x")
    assert checkpoint.kind == "TensorFlow pickle, StyleGAN 1"
    generator = checkpoint.generator.build("x")
    with torch.no_grad():
        z = torch.from_numpy(arrays["z"])
        ws = generator.mapping(z, truncation_psi=0.7, truncation_cutoff=8)
        assert golden.relative_error(generator.mapping(z)[:, 0], arrays["w"]) <= TOLERANCE
        assert golden.relative_error(ws, arrays["ws"]) <= TOLERANCE
        assert golden.relative_error(generator.synthesis(ws), arrays["img"]) <= TOLERANCE


def test_rosinality_checkpoint_meets_its_reference(tmp_path: Path) -> None:
    arrays, meta = golden.load("rosinality_64")
    theirs = golden.rosinality_state(meta["state_dict"])
    torch.save({"g_ema": theirs, "latent_avg": torch.from_numpy(arrays["latent_avg"])}, tmp_path / "x")
    generator = load_generator(tmp_path / "x")
    with torch.no_grad():
        z = torch.from_numpy(arrays["z"])
        assert golden.relative_error(generator.mapping(z)[:, 0], arrays["w"]) <= TOLERANCE
        assert golden.relative_error(generator.synthesis(generator.mapping(z)), arrays["img"]) <= TOLERANCE
        ws = generator.mapping(z, truncation_psi=0.7)
        assert golden.relative_error(generator.synthesis(ws), arrays["img_trunc07"]) <= TOLERANCE
    back = to_rosinality(generator)["g_ema"]
    assert set(back) == set(theirs)
    assert all(torch.equal(back[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_tensorflow_stylegan2_pickle(architecture: str, c_dim: int, tmp_path: Path) -> None:
    torch.manual_seed(2)
    from dataclasses import replace

    original = Generator(replace(SMALL, architecture=architecture, c_dim=c_dim)).eval().requires_grad_(False)
    fields = {"static_kwargs": {"resolution": 32, "mapping_lrmul": 0.01, "resample_kernel": [1, 3, 3, 1]}}
    write_tensorflow(tmp_path / "x", stylegan2_variables(original.state_dict()), **fields)
    loaded = load_generator(tmp_path / "x")
    assert loaded.config == original.config
    for name, value in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", ["g_ema", "bare"])
def test_rosinality_archives_of_both_formats(zipped: bool, wrap: str, small: Generator, tmp_path: Path) -> None:
    content = to_rosinality(small)
    if wrap == "bare":
        content = {**content["g_ema"]}
    torch.save(content, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    if wrap == "g_ema":
        same_pictures(tmp_path / "x", small)
    checkpoint = read_checkpoint(tmp_path / "x")
    assert bool(checkpoint.notes) == (wrap == "bare")
    assert fingerprint(checkpoint.generator.build("x")) == fingerprint(small) or wrap == "bare"


def test_missing_average_is_estimated(small: Generator, tmp_path: Path) -> None:
    torch.save({"g_ema": to_rosinality(small)["g_ema"]}, tmp_path / "x")
    checkpoint = read_checkpoint(tmp_path / "x")
    with torch.no_grad():
        truth = small.mapping(torch.randn(50_000, small.z_dim))[:, 0].mean(dim=0)
    assert any("latent_avg" in note for note in checkpoint.notes)
    torch.testing.assert_close(checkpoint.generator.state["mapping.w_avg"], truth, rtol=0, atol=0.08)


def test_older_rosinality_files_without_noise_maps(small: Generator, tmp_path: Path) -> None:
    content = to_rosinality(small)
    kept = {key: value for key, value in content["g_ema"].items() if not key.startswith("noises.")}
    torch.save({"g_ema": kept, "latent_avg": content["latent_avg"]}, tmp_path / "x")
    checkpoint = read_checkpoint(tmp_path / "x")
    assert checkpoint.notes == ("the file has no noise maps; they were drawn from seed 0",)
    a, b = (read_checkpoint(tmp_path / "x").generator.build("x") for _ in range(2))
    torch.testing.assert_close(render(a), render(b), rtol=0, atol=0)
    ws = small.mapping(torch.randn(1, small.z_dim))
    torch.testing.assert_close(a.synthesis(ws, noise_mode="none"), small.synthesis(ws, noise_mode="none"))


@pytest.mark.parametrize("average_rows", [1, 8])
@pytest.mark.parametrize(
    ("options", "plain"),
    [({"encoder_type": "GradualStyleEncoder"}, False), ({"encoder_type": "Encoder4Editing", "lr": 1e-4}, True)],
    ids=["psp", "e4e"],
)
def test_psp_family_gives_generator_and_encoder(average_rows: int, options, plain: bool, small, tmp_path: Path) -> None:
    progressive = "4Editing" in options["encoder_type"]
    config = PspEncoderConfig(8, default_sizes(8), w_dim=16, progressive=progressive, width=16)
    encoder = PspEncoder(config).eval().requires_grad_(False)
    average = small.mapping.w_avg.expand(average_rows, -1) if average_rows > 1 else small.mapping.w_avg
    encoder.latent_avg.copy_(small.mapping.w_avg.expand(8, -1))
    state = {name: value for name, value in encoder.state_dict().items() if name != "latent_avg"}
    write_psp(tmp_path / "x", to_rosinality(small)["g_ema"], state, average.clone(), plain_opts=plain, **options)
    model = load_model(tmp_path / "x")
    assert model.encoder.config == config
    torch.testing.assert_close(render(model.generator), render(small))
    photo = torch.randn(1, 3, 256, 256).clamp(-1, 1)
    torch.testing.assert_close(model.encoder(photo), encoder(photo))


def test_restyle_encoder_starts_from_the_average_face(small: Generator, tmp_path: Path) -> None:
    config = PspEncoderConfig(8, (16,) * 8, w_dim=16, progressive=True, iterative=True, width=16)
    state = {n: v for n, v in PspEncoder(config).state_dict().items() if n not in ("latent_avg", "average_image")}
    options = {"encoder_type": "ProgressiveBackboneEncoder", "input_nc": 6}
    average = small.mapping.w_avg.clone()
    write_psp(tmp_path / "x", to_rosinality(small)["g_ema"], state, average, plain_opts=True, **options)
    encoder = load_model(tmp_path / "x").encoder
    assert encoder.config == config
    with torch.no_grad():
        face = small.synthesis(small.mapping.w_avg.expand(1, 8, -1))
    expected = torch.nn.functional.interpolate(face, (256, 256), mode="bicubic", antialias=True)
    torch.testing.assert_close(encoder.average_image, expected[0])


def test_unknown_encoder_is_left_out_and_said(small: Generator, tmp_path: Path) -> None:
    state = {"conv1.weight": torch.zeros(64, 6, 7, 7)}
    average = small.mapping.w_avg.clone()
    write_psp(tmp_path / "x", to_rosinality(small)["g_ema"], state, average, plain_opts=True)
    checkpoint = read_checkpoint(tmp_path / "x")
    assert checkpoint.encoder is None
    assert "not supported" in checkpoint.notes[-1]


@pytest.mark.parametrize("safetensors", [True, False])
def test_bare_state_dict_with_nvidia_names(safetensors: bool, small: Generator, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in small.state_dict().items()}
    save_file(state, tmp_path / "x") if safetensors else torch.save(state, tmp_path / "x")
    same_pictures(tmp_path / "x", small)


def test_names_of_files_do_not_matter(small: Generator, tmp_path: Path) -> None:
    save_network(tmp_path / "a.safetensors", small)
    torch.save(to_rosinality(small), tmp_path / "b.pt")
    write_nvidia(tmp_path / "c.pkl", small.state_dict(), {"mapping_kwargs": {"num_layers": 3}})
    for source, disguise in (("a.safetensors", "x.pkl"), ("b.pt", "y.safetensors"), ("c.pkl", "z.jpg")):
        shutil.copy(tmp_path / source, tmp_path / disguise)
        same_pictures(tmp_path / disguise, small)


def test_attributes_of_modules_decide_over_keywords(small: Generator, tmp_path: Path) -> None:
    kwargs = {"synthesis_kwargs": {"conv_clamp": 256, "num_fp16_res": 2}, "mapping_kwargs": {"lr_multiplier": 0.02}}
    write_nvidia(tmp_path / "x", small.state_dict(), kwargs)
    config = load_generator(tmp_path / "x").config
    assert (config.conv_clamp, config.reduced_res, config.mapping_lr_multiplier) == (256, 2, 0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a picture"),
        (b"\x1f\x8b" + b"\0" * 50, "gzip"),
        (b"PK\x03\x04" + b"\0" * 50, "damaged zip"),
        (b"\x80\x04N.", "holds no generator that can be read: a NoneType"),
        (b"\x80\x04}X\x01\x00\x00\x00aK\x01s.", "a dictionary with the keys a"),
        (b"\x80\x04]K\x01a.", "a list of 1 entries"),
        (b"\x80\x04", "fewer are there"),
        (b"hello world", "cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_generator(tmp_path / "x.pkl")


def test_a_single_tensor_is_pointed_to_the_import(tmp_path: Path) -> None:
    torch.save(torch.zeros(18, 512), tmp_path / "age.pt")
    with pytest.raises(ModelError, match="latentedit-direction import"):
        load_generator(tmp_path / "age.pt")
