from __future__ import annotations

import pytest
import torch

from latentedit.inversion.noise import NoiseMaps


def test_stored_noise_renders_the_same_image(model):
    synthesis = model.generator.synthesis
    maps = NoiseMaps(synthesis.noise_shapes)
    ws = model.generator.mapping(torch.randn(2, 12))
    noise = maps.unpack(maps.stored(synthesis).repeat(2, 1))
    assert set(noise) == set(synthesis.noise_shapes)
    assert torch.equal(synthesis(ws, noise=noise), synthesis(ws, noise_mode="const"))


def test_unpack_and_stacks_are_views():
    maps = NoiseMaps({"b8.conv1": (8, 8), "b4.conv1": (4, 4), "b8.conv0": (8, 8)})
    flat = torch.randn(2, maps.size)
    assert maps.size == 16 + 2 * 64
    maps.unpack(flat)["b8.conv1"].zero_()
    stacks = maps.stacks(flat)
    assert [tuple(stack.shape) for stack in stacks] == [(2, 1, 4, 4), (2, 2, 8, 8)]
    assert int((stacks[1] == 0).sum()) == 2 * 64
    assert flat.ne(0).sum() == 2 * (16 + 64)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("checkerboard", 2.0),  # autocorrelation -1 along both axes; averages to 0 at 8 px
        ("stripes", 2.0),  # -1 across and +1 along the stripes; averages to 0 at 8 px
        ("flat", 2.0 + 2 * 4.0**2),  # +1 along both at 16 px; doubled to 2 at 8 px, where 2 * 2 = 4 is squared
    ],
)
def test_regularity_of_patterns_in_closed_form(pattern, expected):
    row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    signs = {"checkerboard": row + column, "stripes": column, "flat": 0 * row}[pattern]
    flat = (1.0 - 2.0 * (signs % 2)).reshape(1, -1)
    value = NoiseMaps({"b16.conv1": (16, 16)}).regularity(flat)
    torch.testing.assert_close(value, torch.tensor([expected]))


def test_white_noise_is_regular_and_rows_do_not_mix():
    maps = NoiseMaps({"b32.conv0": (32, 32), "b32.conv1": (32, 32)})
    flat = torch.randn(3, maps.size, generator=torch.Generator().manual_seed(0))
    flat[1] = 1.0
    value = maps.regularity(flat)
    assert value[0] < 0.3
    assert value[1] > 10
    torch.testing.assert_close(value[2:], maps.regularity(flat[2:]))


def test_normalize_gives_zero_mean_and_unit_variance_to_every_map():
    maps = NoiseMaps({"b4.conv1": (4, 4), "b8.conv0": (8, 8), "b8.conv1": (8, 8)})
    flat = torch.randn(2, maps.size) * 3 + 1
    maps.normalize_(flat)
    for value in maps.unpack(flat).values():
        torch.testing.assert_close(value.mean(dim=(2, 3)), torch.zeros(2, 1), atol=1e-6, rtol=0)
        torch.testing.assert_close(value.square().mean(dim=(2, 3)), torch.ones(2, 1), atol=1e-4, rtol=0)


def test_a_generator_without_noise_has_no_variable():
    maps = NoiseMaps({})
    assert maps.unpack(torch.zeros(3, 0)) == {}
    assert torch.equal(maps.regularity(torch.zeros(3, 0)), torch.zeros(3))
    assert maps.stored(torch.nn.Identity()).shape == (1, 0)
