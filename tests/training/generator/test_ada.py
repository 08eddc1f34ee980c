"""ADA's transforms: neutral at p = 0, exact where a closed form exists, differentiable."""

from __future__ import annotations

import math

import torch

from latentedit.training.generator.ada import AdaptiveProbability, AugmentConfig, AugmentPipe, _rotate_about_grey

NEUTRAL = AugmentConfig(
    flips=False,
    rotations90=False,
    translation=0,
    scale_std=0,
    rotation=0,
    anisotropy_std=0,
    fractional_translation_std=0,
    brightness_std=0,
    contrast_std=0,
    luma_flip=False,
    hue=0,
    saturation_std=0,
)


def smooth_images(n: int = 4, size: int = 32) -> torch.Tensor:
    t = torch.linspace(-1, 1, size)
    wave = torch.sin(3 * t[:, None] + 2 * t[None, :])
    return torch.stack([wave * (i + 1) / n for i in range(n)]).unsqueeze(1).repeat(1, 3, 1, 1)


def test_p_zero_returns_the_images_themselves() -> None:
    images = smooth_images()
    assert AugmentPipe(p=0.0)(images) is images


def test_identity_geometry_only_resamples() -> None:
    images = smooth_images()
    out = AugmentPipe(NEUTRAL, p=1.0)(images)
    assert (out - images)[:, :, 4:-4, 4:-4].abs().max() < 0.02


def test_quarter_turns_are_rot90() -> None:
    torch.manual_seed(0)
    images = smooth_images()
    out = AugmentPipe(AugmentConfig(**{**NEUTRAL.__dict__, "rotations90": True}), p=1.0)(images)
    for row, image in zip(out, images, strict=True):
        errors = [(row - image.rot90(k, [1, 2]))[:, 4:-4, 4:-4].abs().max() for k in range(4)]
        assert min(errors) < 0.05


def test_hue_rotation_keeps_grey_and_length() -> None:
    m = _rotate_about_grey(torch.tensor([2 * math.pi / 3, 0.4]))
    grey = torch.tensor([0.3, 0.3, 0.3, 1.0])
    assert torch.allclose(m @ grey, grey.expand(2, 4), atol=1e-6)
    assert torch.allclose(m @ m.transpose(1, 2), torch.eye(4).expand(2, 4, 4), atol=1e-6)
    # A third of a turn permutes the channels.
    assert torch.allclose(m[0, :3, :3] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)


def test_full_pipe_changes_images_and_passes_gradients() -> None:
    torch.manual_seed(0)
    images = smooth_images().requires_grad_(True)
    out = AugmentPipe(p=0.8)(images)
    assert out.shape == images.shape
    assert (out - images).abs().max() > 0.1
    out.square().sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().sum() > 0


def test_probability_follows_the_sign_of_real_logits() -> None:
    pipe = AugmentPipe(p=0.5)
    ada = AdaptiveProbability(pipe, target=0.6, speed_images=1000)
    ada.update(0.9, 100)
    assert math.isclose(float(pipe.p), 0.6, rel_tol=1e-5)
    ada.update(0.1, 10_000)
    assert float(pipe.p) == 0
    ada.update(0.9, 10_000)
    assert math.isclose(float(pipe.p), 0.85, rel_tol=1e-5)
