"""Sharpness against closed forms."""

from __future__ import annotations

import pytest
import torch

from latentedit.evaluation.spectrum import band_energy, sharpness


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
