from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from latentedit.inversion.similarity import measure, mse, ssim


def test_mse_clamps_the_image_and_spans_zero_to_four():
    image, target = torch.full((1, 3, 4, 4), 7.0), torch.full((1, 3, 4, 4), -1.0)
    assert mse(image, target) == 4
    assert mse(image, torch.ones_like(target)) == 0


def test_ssim_of_even_images_is_the_luminance_term():
    a, b = 0.5, -0.25
    c1 = (0.01 * 2) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    value = ssim(torch.full((1, 3, 16, 16), a), torch.full((1, 3, 16, 16), b))
    torch.testing.assert_close(value, torch.tensor([expected]), rtol=1e-4, atol=1e-5)


def test_ssim_follows_the_formula_of_wang():
    random = np.random.RandomState(0)
    x = np.clip(random.randn(24, 20) * 0.4, -1, 1)
    y = np.clip(x + random.randn(24, 20) * 0.2, -1, 1)

    def blur(value: np.ndarray) -> np.ndarray:
        return gaussian_filter(value, 1.5, truncate=3.5)[5:-5, 5:-5]  # radius 5: the 11 x 11 window, inside only

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    reference = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    pair = [torch.from_numpy(v).float().expand(1, 3, -1, -1) for v in (x, y)]
    assert float(ssim(*pair)) == pytest.approx(reference, abs=1e-5)


def test_ssim_is_one_for_equal_images_of_any_size():
    for size in (4, 11, 30):
        image = torch.rand(2, 3, size, size) * 2 - 1
        torch.testing.assert_close(ssim(image, image), torch.ones(2), atol=1e-4, rtol=0)


def test_measure_reports_per_photo_and_perception_where_there_is_one(model, targets):
    equal = measure(targets, targets, model.perception)
    assert set(equal) == {"mse", "ssim", "perceptual", "identity"}
    torch.testing.assert_close(equal["identity"], torch.ones(8))
    torch.testing.assert_close(equal["perceptual"], torch.zeros(8), atol=1e-5, rtol=0)
    other = measure(targets.flip(0), targets, model.perception)
    assert (other["identity"] < 1).all()
    assert (other["perceptual"] > 0).all()
    assert (other["mse"] > 0).all()
    assert set(measure(targets, targets, None)) == {"mse", "ssim"}
