"""Progress measures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.training.measures import band_energy, frechet_distance, frechet_multiple, sharpness


def test_frechet_distance_of_gaussians() -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal((20_000, 3))
    b = 2 * random.standard_normal((20_000, 3)) + np.array([1.0, 0, 0])
    # |mean|^2 + trace(1 + 4 - 2 * 2) = 1 + 3
    assert frechet_distance(a, b) == pytest.approx(4, rel=0.05)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_multiple_is_one_for_the_same_distribution() -> None:
    random = np.random.default_rng(1)
    photos, samples = random.standard_normal((4000, 4)), random.standard_normal((2000, 4))
    assert 0.3 < frechet_multiple(samples, photos) < 3
    assert frechet_multiple(samples + 1, photos) > 50
    with pytest.raises(ValueError, match="10 samples are fewer"):
        frechet_multiple(samples[:10], photos)


def test_sharpness_is_one_for_itself_and_falls_with_blur() -> None:
    torch.manual_seed(0)
    photos = torch.randn(4, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(photos, 3, 1, 1)
    assert sharpness(photos, photos) == pytest.approx(1)
    assert sharpness(blurred, photos) < 0.3
    t = torch.arange(32)
    coarse = torch.cos(2 * torch.pi * t / 16).expand(1, 3, 32, 32)
    fine = torch.cos(2 * torch.pi * t * 3 / 8).expand(1, 3, 32, 32)
    assert band_energy(coarse) < 0.01 * band_energy(fine)
