"""Blurring against SciPy's filters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter

from latentedit.cuda_ops.blur import blurred, gaussian_window, hann_window

IMAGES = torch.randn(2, 3, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("border", "theirs"), [("reflect", "mirror"), ("replicate", "nearest")])
def test_gaussian_follows_scipy(border: str, theirs: str) -> None:
    found = blurred(IMAGES, gaussian_window(13, 2.0, IMAGES), border=border)  # type: ignore[arg-type]
    expected = gaussian_filter(IMAGES.numpy(), 2.0, radius=6, mode=theirs, axes=(2, 3))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_valid_takes_windows_inside_only_and_axes_their_own_window() -> None:
    across, down = gaussian_window(5, 1.0, IMAGES), hann_window(4, IMAGES)
    found = blurred(IMAGES, across, down, border="valid")
    expected = correlate1d(correlate1d(IMAGES.numpy(), across.numpy(), axis=3), down.numpy(), axis=2)[:, :, 2:-1, 2:-2]
    assert found.shape == (2, 3, 17, 20)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_windows_sum_to_one_and_hann_has_no_zeros() -> None:
    assert float(gaussian_window(7, 1.3, IMAGES).sum()) == pytest.approx(1)
    window = hann_window(3, IMAGES)
    np.testing.assert_allclose(window.numpy(), [0.25, 0.5, 0.25], atol=1e-12)  # sin^2 at 45, 90 and 135 degrees
