"""The first StyleGAN; its images against the reference are in tests/checkpoints/test_recognise.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from latentedit.errors import LatentError, ModelError
from latentedit.latents import layer_indices
from latentedit.networks import StyleGenerator
from latentedit.networks.stylegan1 import StyleGAN1Config, StyleGAN1Generator, StyleGAN1Layer, adaptive_instance_norm

SMALL = StyleGAN1Config(resolution=16, z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8)


@pytest.fixture
def generator() -> StyleGAN1Generator:
    torch.manual_seed(0)
    made = StyleGAN1Generator(SMALL).eval().requires_grad_(False)
    for name, value in made.state_dict().items():
        if name.endswith(("noise_strength", "bias")):
            value.normal_()
    return made


def test_adain_gives_every_map_the_mean_and_deviation_of_its_style() -> None:
    x, styles = torch.randn(2, 3, 8, 8) * 4 + 7, torch.randn(2, 2, 3)
    y = adaptive_instance_norm(x, styles)
    torch.testing.assert_close(y.mean(dim=(2, 3)), styles[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(2, 3), unbiased=False).sqrt(), (styles[:, 0] + 1).abs(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("resolution", [64, 128])
def test_fused_upsampling_is_nearest_upsampling_and_convolution(resolution: int) -> None:
    layer = StyleGAN1Layer(2, 3, resolution, 4, up=True)
    x, blur = torch.randn(1, 2, resolution // 2, resolution // 2), torch.ones(1, 1)
    weight = layer.weight * layer.weight_gain
    # The transposed convolution convolves in the strict sense: the kernel is mirrored, as the networks were trained.
    expected = F.conv2d(
        F.interpolate(x, scale_factor=2), weight if resolution < 128 else weight.flip([2, 3]), padding=1
    )
    torch.testing.assert_close(layer._convolve(x, blur), expected, atol=1e-5, rtol=0)


def test_the_face_of_a_generator(generator: StyleGAN1Generator) -> None:
    assert isinstance(generator, StyleGenerator)
    assert (generator.num_ws, generator.c_dim, generator.resolution) == (6, 0, 16)
    assert generator.synthesis.layer_resolutions == (4, 4, 8, 8, 16, 16)
    assert layer_indices("coarse", generator.synthesis.layer_resolutions) == (0, 1, 2, 3)
    ws = generator.mapping(torch.randn(3, 6), truncation_psi=0.5, truncation_cutoff=2)
    assert generator.synthesis(ws).shape == (3, 3, 16, 16)
    with pytest.raises(LatentError, match=r"takes ws \[N, 6, 5\]"):
        generator.synthesis(ws[:, :2])


def test_noise_is_replaced_by_name_and_row(generator: StyleGAN1Generator) -> None:
    ws = generator.mapping(torch.randn(2, 6))
    synthesis = generator.synthesis
    stored = {name: synthesis.get_submodule(name).noise_const for name in synthesis.noise_shapes}
    same = generator.synthesis(ws, noise_mode="none", noise=stored)
    torch.testing.assert_close(same, generator.synthesis(ws))
    rows = generator.synthesis(ws, noise={"b16.conv1": torch.randn(2, 1, 16, 16)})
    assert not torch.allclose(rows, same)
    assert not torch.allclose(generator.synthesis(ws, noise_mode="none"), same)


def test_each_style_drives_its_layer(generator: StyleGAN1Generator) -> None:
    ws = generator.mapping(torch.randn(1, 6))
    before = generator.synthesis(ws)
    for layer in range(generator.num_ws):
        changed = ws.clone()
        changed[:, layer] += 1
        assert not torch.allclose(generator.synthesis(changed), before)


def test_resolution_must_be_a_power_of_two() -> None:
    with pytest.raises(ModelError, match="resolution 48"):
        StyleGAN1Config(resolution=48)
