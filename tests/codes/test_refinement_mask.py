"""Where an edit departs from its photo: pictures whose shapes are known."""

from __future__ import annotations

import pytest
import torch

from latentedit.codes.refinement_mask import departure


@pytest.mark.parametrize("size", [8, 32, 64, 256])
def test_a_little_light_is_hardly_a_departure_and_a_new_shape_is_one_where_it_lies(size):
    before = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.2
    torch.testing.assert_close(departure(before, before), torch.zeros(2, 1, size, size))
    assert departure(before, before + 0.1).max() < 0.1
    assert departure(before, before + 0.6).min() > 0.95
    after = before.clone()
    third = size // 3
    after[1, :, :third:2, :third] += 1.5
    share = departure(before, after)
    assert share.shape == (2, 1, size, size)
    assert share[0].max() < 1e-5
    assert share[1, 0, third // 2, third // 2] > 0.9
    assert share[1, 0, -1, -1] < 1e-5
    assert float(share.min()) >= -1e-6
    assert float(share.max()) <= 1 + 1e-6


def test_departure_does_not_depend_on_the_resolution():
    small = torch.zeros(1, 3, 64, 64)
    small[..., 24:40, 24:40] = 0.4
    large = torch.nn.functional.interpolate(small, scale_factor=2)
    low = departure(torch.zeros_like(small), small)
    high = torch.nn.functional.avg_pool2d(departure(torch.zeros_like(large), large), 2)
    assert 0.2 < low.max() <= 1
    torch.testing.assert_close(high, low, atol=0.12, rtol=0)
