"""Augmentations: geometry that matches its labels, repeatability, ranges."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from latentedit.training.perception.augment import AugmentConfig, augment, compress

STILL = AugmentConfig(
    size=32, sizes=(32,), rotation=0, scale=0, shift=0, colour=0, grey=0, blur=0, compress=0, noise=0, erase=0
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 8, size: int = 64) -> torch.Tensor:
    small = torch.randint(0, 256, (count, 3, 8, 8), generator=rng(5), dtype=torch.uint8)
    return F.interpolate(small.float(), (size, size), mode="bilinear").to(torch.uint8)


def test_without_any_change_crops_are_only_shrunk_and_mirrored() -> None:
    result = augment(photos(16), STILL, rng())
    small = F.interpolate(photos(16), (32, 32), mode="bilinear", antialias=True).float() / 127.5 - 1
    expected = torch.where(result.flipped[:, None, None, None], small.flip(3), small)
    torch.testing.assert_close(result.images, expected, atol=1e-4, rtol=0)
    assert result.flipped.any()
    assert not result.flipped.all()
    assert result.roll.abs().max() == 0


def test_positive_roll_turns_the_picture_clockwise() -> None:
    dot = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    dot[..., 30:34, 52:56] = 255  # right of the centre
    config = AugmentConfig(**{**STILL.__dict__, "rotation": 30})
    for seed in range(6):
        result = augment(dot, config, rng(seed))
        roll, side = result.roll.item(), -1 if result.flipped.item() else 1
        weight = (result.images[0, 0] + 1).clamp(min=0)
        grid = torch.arange(32) - 15.5
        x, y = (weight.sum(0) @ grid / weight.sum()).item(), (weight.sum(1) @ grid / weight.sum()).item()
        measured = torch.rad2deg(torch.atan2(torch.tensor(y * side), torch.tensor(x * side))).item()
        assert measured == pytest.approx(roll, abs=2)


def test_the_same_seed_gives_the_same_crops_and_another_seed_others() -> None:
    config = AugmentConfig(size=32)
    first, again, other = (augment(photos(), config, rng(seed)).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_full_augmentation_stays_in_range_and_keeps_its_input() -> None:
    source = photos(32)
    before = source.clone()
    for seed in range(5):
        images = augment(source, AugmentConfig(size=32), rng(seed)).images
        assert images.shape == (32, 3, 32, 32)
        assert images.isfinite().all()
        assert images.abs().max() <= 1
    assert torch.equal(source, before)


def test_compression_grows_with_its_step_and_keeps_flat_areas() -> None:
    x = photos(4, 32).float() / 127.5 - 1
    errors = [(compress(x, torch.full([4], step)) - x).abs().mean().item() for step in (1e-4, 0.02, 0.1, 0.3)]
    assert errors[0] < 1e-3
    assert errors == sorted(errors)
    flat = torch.full([1, 3, 16, 16], 0.25)  # its only coefficient is 8 * 0.25, a multiple of the step
    torch.testing.assert_close(compress(flat, torch.tensor([0.1])), flat, atol=1e-5, rtol=0)
