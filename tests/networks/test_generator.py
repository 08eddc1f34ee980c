"""Generators against the vectors of the published stylegan2-ada implementation (tests/golden/sg2ada_*.npz)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latentedit.errors import LatentError, ModelError
from latentedit.networks import Generator, GeneratorConfig, fingerprint
from latentedit.networks.layers import modulated_conv2d

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8)


def golden_generator(name: str) -> tuple[Generator, dict[str, torch.Tensor]]:
    """The generator of a golden file with its weights, and the file's other arrays."""
    with np.load(GOLDEN / f"sg2ada_{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files if key != "meta"}
        kwargs = json.loads(str(file["meta"]))["kwargs"]
    synthesis = kwargs["synthesis_kwargs"]
    config = GeneratorConfig(
        resolution=kwargs["img_resolution"],
        z_dim=kwargs["z_dim"],
        c_dim=kwargs["c_dim"],
        w_dim=kwargs["w_dim"],
        mapping_layers=kwargs["mapping_kwargs"]["num_layers"],
        channel_base=synthesis["channel_base"],
        channel_max=synthesis["channel_max"],
        architecture=synthesis.get("architecture", "skip"),
        conv_clamp=synthesis.get("conv_clamp"),
    )
    generator = Generator(config).eval()
    generator.load_state_dict({k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")})
    return generator, arrays


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


@pytest.mark.parametrize("name", ["skip_64", "cond_32", "resnet_32", "orig_32"])
def test_matches_stylegan2_ada(name: str) -> None:
    generator, golden = golden_generator(name)
    with torch.no_grad():
        assert relative_error(generator.mapping(golden["z"], golden.get("c")), golden["ws"]) < 1e-4
        ws = generator.mapping(golden["z"], golden.get("c"), truncation_psi=0.7, truncation_cutoff=4)
        assert relative_error(ws, golden["ws_psi07_cut4"]) < 1e-4
        for mode in ("const", "none"):
            if f"img_{mode}" in golden:
                image = generator.synthesis(golden["ws_psi07_cut4"], noise_mode=mode)
                assert relative_error(image, golden[f"img_{mode}"]) < 1e-4, mode


def golden_convolutions() -> list[dict]:
    with np.load(GOLDEN / "modulated_conv2d.npz") as file:
        return json.loads(str(file["cases"]))


@pytest.mark.parametrize("case", golden_convolutions(), ids=lambda case: case["key"])
def test_modulated_conv2d_matches_stylegan2_ada(case: dict) -> None:
    from latentedit.cuda_ops import setup_filter

    with np.load(GOLDEN / "modulated_conv2d.npz") as file:
        arrays = {k.split("/")[1]: torch.from_numpy(file[k]) for k in file.files if k.startswith(case["key"] + "/")}
    y = modulated_conv2d(
        arrays["x"],
        arrays["weight"],
        arrays["styles"],
        noise=arrays.get("noise"),
        up=case["up"],
        down=case["down"],
        padding=case["padding"],
        resample_filter=setup_filter(case["resample_filter"]).to(arrays["x"].dtype),
        demodulate=case["demodulate"],
        flip_weight=case["up"] == 1,
    )
    assert relative_error(y, arrays["y"]) < 1e-6


def test_rows_may_have_their_own_noise() -> None:
    generator = Generator(TINY).eval()
    for name in generator.synthesis.noise_shapes:
        generator.get_parameter(f"synthesis.{name}.noise_strength").data.fill_(0.5)
    ws = generator.mapping(torch.randn(2, 8))
    noise = {name: torch.randn(2, 1, *shape) for name, shape in generator.synthesis.noise_shapes.items()}
    with torch.no_grad():
        batch = generator.synthesis(ws, noise=noise)
        single = generator.synthesis(ws[1:], noise={name: value[1:] for name, value in noise.items()})
        stored = generator.synthesis(ws)
    assert torch.allclose(batch[1:], single, atol=1e-5)
    assert not torch.allclose(batch, stored, atol=1e-2)


def test_layer_resolutions_and_noise_names() -> None:
    synthesis = Generator(TINY).synthesis
    assert synthesis.layer_resolutions == (4, 8, 8, 16, 16, 16)
    assert list(synthesis.noise_shapes) == ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"]
    assert synthesis.noise_shapes["b8.conv0"] == (8, 8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reduced_precision_stays_near_float32(dtype: str) -> None:
    torch.manual_seed(0)
    full = Generator(TINY).eval()
    config = GeneratorConfig(**{**TINY.__dict__, "reduced_res": 1, "reduced_dtype": dtype, "conv_clamp": 256})
    assert [config.is_reduced(r) for r in config.resolutions] == [False, False, True]
    reduced = Generator(config).eval()
    reduced.load_state_dict(full.state_dict())
    ws = full.mapping(torch.randn(2, 8))
    with torch.no_grad():
        exact = full.synthesis(ws)
        asked = reduced.synthesis(ws, dtype=getattr(torch, dtype))
        assert 0 < relative_error(asked, exact) < 0.05
        for options in ({}, {"dtype": torch.float32}, {"force_fp32": True}):
            assert torch.equal(reduced.synthesis(ws, **options), exact), "on a CPU, which reduces where it is asked to"


def test_smaller_pictures_are_the_full_one_averaged() -> None:
    generator = Generator(TINY).eval()
    ws = generator.mapping(torch.randn(2, 8))
    full = generator.synthesis(ws)
    assert torch.equal(generator.synthesis(ws, resolution=16), full)
    small = generator.synthesis(ws, resolution=4)
    torch.testing.assert_close(small, full.unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean(dim=(3, 5)))
    with pytest.raises(LatentError, match=r"resolution 5 does not divide this generator's 16 px\."):
        generator.synthesis(ws, resolution=5)


def test_fingerprint_follows_the_weights() -> None:
    a, b = Generator(TINY), Generator(TINY)
    assert fingerprint(a) != fingerprint(b)
    b.load_state_dict(a.state_dict())
    assert fingerprint(a) == fingerprint(b)
    assert len(fingerprint(a)) == 16
    b.synthesis.b4.conv1.bias.data[0] += 1e-3
    assert fingerprint(a) != fingerprint(b)


def test_wrong_input_is_named() -> None:
    generator = Generator(TINY)
    with pytest.raises(LatentError, match=r"ws has shape \(1, 3, 8\).*\[N, 6, 8\]"):
        generator.synthesis(torch.zeros(1, 3, 8))
    with pytest.raises(LatentError, match=r"z has shape \(1, 9\).*\[N, 8\]"):
        generator.mapping(torch.zeros(1, 9))
    with pytest.raises(LatentError, match="noise_mode 'loud'"):
        generator.synthesis(torch.zeros(1, 6, 8), noise_mode="loud")
    with pytest.raises(LatentError, match=r"\['b99'\] do not exist"):
        generator.synthesis(torch.zeros(1, 6, 8), noise={"b99": torch.zeros(1)})
    with pytest.raises(ModelError, match="resolution 48"):
        GeneratorConfig(resolution=48)
