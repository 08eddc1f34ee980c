"""StyleGAN3 against the published implementation (tests/golden/stylegan3_*.npz), and what its design promises."""

from __future__ import annotations

import checkpoint_vectors as golden
import numpy as np
import pytest
import torch
from scipy.signal import firwin

from latentedit.errors import LatentError, ModelError
from latentedit.latents import layer_indices
from latentedit.networks.lowpass import design_lowpass
from latentedit.networks.stylegan3 import StyleGAN3Config, StyleGAN3Generator

SMALL = StyleGAN3Config(
    resolution=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8, num_layers=6, mapping_layers=1
)


def reference(name: str) -> tuple[StyleGAN3Generator, dict[str, np.ndarray]]:
    arrays, meta = golden.load(name)
    kwargs = {key: value for key, value in meta["kwargs"].items() if key != "num_fp16_res"}
    layers = kwargs.pop("mapping_kwargs")["num_layers"]
    config = StyleGAN3Config(resolution=kwargs.pop("img_resolution"), mapping_layers=layers, **kwargs)
    generator = StyleGAN3Generator(config)
    generator.eval().requires_grad_(False)
    designed = generator.state_dict()
    state = golden.state(arrays)
    for key in designed:
        if key.endswith("_filter"):
            torch.testing.assert_close(designed[key], state[key], rtol=0, atol=1e-7)
    generator.load_state_dict(state)
    return generator, arrays


@pytest.mark.parametrize("name", ["stylegan3_t_32", "stylegan3_r_32"])
def test_images_of_the_published_implementation(name: str) -> None:
    generator, arrays = reference(name)
    ws = generator.mapping(torch.from_numpy(arrays["z"]), truncation_psi=0.7)
    assert golden.relative_error(ws, arrays["ws"]) <= 1e-4
    assert golden.relative_error(generator.synthesis(ws), arrays["img"]) <= 1e-4
    generator.synthesis.input.transform.copy_(torch.from_numpy(arrays["transform"]))
    assert golden.relative_error(generator.synthesis(ws), arrays["img_transformed"]) <= 1e-4


@pytest.mark.parametrize("cutoff", [2.0, 5.3])
@pytest.mark.parametrize("taps", [6, 12, 24])
def test_lowpass_filters_are_kaiser_windowed_sincs(cutoff: float, taps: int) -> None:
    expected = firwin(numtaps=taps, cutoff=cutoff, width=6.0, fs=32)
    np.testing.assert_allclose(design_lowpass(taps, cutoff, 6.0, 32).numpy(), expected, atol=1e-7)


def test_radial_filters_treat_all_directions_alike() -> None:
    f = design_lowpass(12, 4.0, 8.0, 32, radial=True)
    assert float(f.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(f, f.t())
    torch.testing.assert_close(f, f.flip([0]))
    assert design_lowpass(1, 4.0, 8.0, 32) is None


def test_moving_shifts_the_picture() -> None:
    generator = StyleGAN3Generator(SMALL).eval().requires_grad_(False)
    ws = generator.mapping(torch.randn(1, 8))
    before = generator.synthesis(ws)
    generator.synthesis.move(translate=(4 / 32, 2 / 32))
    after = generator.synthesis(ws)
    inside = (slice(None), slice(None), slice(12, 24), slice(12, 24))
    there = (slice(None), slice(None), slice(10, 22), slice(8, 20))
    scale = float(before[inside].std())
    assert float((after[inside] - before[there]).abs().max()) < 0.15 * scale
    assert float((after[inside] - before[inside]).abs().max()) > 0.5 * scale
    generator.synthesis.move()
    torch.testing.assert_close(generator.synthesis(ws), before)


def test_the_face_of_a_generator() -> None:
    generator = StyleGAN3Generator(SMALL)
    ws = generator.mapping(torch.randn(2, 8))
    assert ws.shape == (2, generator.num_ws, 8)
    assert generator.synthesis.noise_shapes == {}
    torch.testing.assert_close(generator.synthesis(ws, noise_mode="none"), generator.synthesis(ws))
    for options, message in (({"noise_mode": "loud"}, "noise_mode 'loud'"), ({"noise": {"b4": ws}}, "has no noise")):
        with pytest.raises(LatentError, match=message):
            generator.synthesis(ws, **options)
    with pytest.raises(LatentError, match=r"takes ws \[N, 8, 8\]"):
        generator.synthesis(ws[:, :3])


def test_every_layer_group_is_inhabited_at_1024() -> None:
    generator = StyleGAN3Generator(StyleGAN3Config(resolution=1024, channel_base=64, channel_max=2, w_dim=4, z_dim=4))
    resolutions = generator.synthesis.layer_resolutions
    assert resolutions == (4, 4, 8, 8, 16, 32, 32, 64, 128, 128, 256, 512, 512, 1024, 1024, 1024)
    groups = [layer_indices(group, resolutions) for group in ("coarse", "middle", "fine")]
    assert [index for group in groups for index in group] == list(range(16))


def test_configurations_out_of_range() -> None:
    for change in ({"num_critical": 99}, {"resolution": 1 << 20}, {"first_cutoff": -1.0}, {"conv_kernel": 100}):
        with pytest.raises(ModelError, match="out of range"):
            StyleGAN3Config(**{"resolution": 32, **change})
