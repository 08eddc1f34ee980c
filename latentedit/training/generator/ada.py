"""Adaptive discriminator augmentation ("Training GANs with Limited Data", Karras et al. 2020).

Geometry and colour are each one random matrix per image, composed of independent transforms that are switched on with
probability ``p``; the images go through one resampling and one matrix product. Everything is differentiable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.cuda_ops import downsample2d, setup_filter, upsample2d

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass taps of the symlet of order 6 (Daubechies 1992), which the paper resamples with."""


@dataclass(frozen=True)
class AugmentConfig:
    """Which groups are on, and their strengths as in the paper's appendix B ("bgc")."""

    flips: bool = True
    rotations90: bool = True
    translation: float = 0.125
    scale_std: float = 0.2
    rotation: float = math.pi
    anisotropy_std: float = 0.2
    fractional_translation_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    luma_flip: bool = True
    hue: float = math.pi
    saturation_std: float = 1.0


def _matrix2d(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """Stack entries, numbers or [N] tensors, into homogeneous matrices [N,3,3]."""
    columns = [
        [torch.as_tensor(v, dtype=like.dtype, device=like.device).expand(like.shape[0]) for v in r] for r in rows
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in columns], dim=-2)


def _scale2d(x: Tensor, y: Tensor) -> Tensor:
    return _matrix2d([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def _rotate2d(angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    return _matrix2d([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], angle)


def _translate2d(x: Tensor, y: Tensor) -> Tensor:
    return _matrix2d([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


class AugmentPipe(nn.Module):
    """Augment images [N,3,R,R] with overall probability ``p`` (a buffer, so that checkpoints keep it)."""

    p: Tensor
    filter: Tensor

    def __init__(self, config: AugmentConfig | None = None, p: float = 0.0) -> None:
        super().__init__()
        self.config = config or AugmentConfig()
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("filter", setup_filter(SYM6))

    def forward(self, images: Tensor) -> Tensor:
        if float(self.p) == 0:
            return images
        return self._colour(self._geometry(images))

    def _gate(self, values: Tensor, neutral: float) -> Tensor:
        """Keep each value with probability ``p``, else the neutral one."""
        return torch.where(torch.rand_like(values) < self.p, values, torch.full_like(values, neutral))

    def _geometry(self, images: Tensor) -> Tensor:
        config, n, device = self.config, images.shape[0], images.device
        uniform = lambda: torch.rand(n, device=device)  # noqa: E731
        normal = lambda: torch.randn(n, device=device)  # noqa: E731
        one = torch.ones(n, device=device)
        g = torch.eye(3, device=device).expand(n, 3, 3)
        if config.flips:
            g = g @ _scale2d(1 - 2 * self._gate((uniform() * 2).floor(), 0), one)
        if config.rotations90:
            g = g @ _rotate2d(math.pi / 2 * self._gate((uniform() * 4).floor(), 0))
        if config.translation:
            size = images.shape[-1]
            shift = [((uniform() * 2 - 1) * config.translation * size).round() * 2 / size for _ in "xy"]
            g = g @ _translate2d(self._gate(shift[0], 0), self._gate(shift[1], 0))
        if config.scale_std:
            s = self._gate(torch.exp2(normal() * config.scale_std), 1)
            g = g @ _scale2d(s, s)
        # The rotation is applied before and after the anisotropic scaling, with the combined probability p.
        p_rotate = 1 - (1 - self.p).clamp(0, 1).sqrt()
        rotate = lambda: torch.where(uniform() < p_rotate, (uniform() * 2 - 1) * config.rotation, 0 * one)  # noqa: E731
        if config.rotation:
            g = g @ _rotate2d(rotate())
        if config.anisotropy_std:
            s = self._gate(torch.exp2(normal() * config.anisotropy_std), 1)
            g = g @ _scale2d(s, 1 / s)
        if config.rotation:
            g = g @ _rotate2d(rotate())
        if config.fractional_translation_std:
            t = [self._gate(normal() * config.fractional_translation_std * 2, 0) for _ in "xy"]
            g = g @ _translate2d(t[0], t[1])
        return self._resample(images, g)

    def _resample(self, images: Tensor, g: Tensor) -> Tensor:
        """Sample ``images`` at twice the resolution through ``g``, from output to input coordinates in [-1,1]."""
        n, c, h, w = images.shape
        pad = max(h, w) // 2
        large = F.pad(images.to(torch.float32), [pad] * 4, mode="reflect")
        large = upsample2d(large, self.filter)
        grow = 1 + 2 * pad / w
        # Coordinates of the padded picture are 1/grow of those of the picture itself.
        grid = F.affine_grid(g[:, :2], [n, c, 2 * h, 2 * w], align_corners=False)
        warped = F.grid_sample(large, grid / grow, mode="bilinear", padding_mode="zeros", align_corners=False)
        return downsample2d(warped, self.filter, flip_filter=True)

    def _colour(self, images: Tensor) -> Tensor:
        config, n, device = self.config, images.shape[0], images.device
        normal = lambda: torch.randn(n, device=device)  # noqa: E731
        eye = torch.eye(4, device=device)
        m = eye.expand(n, 4, 4)
        if config.brightness_std:
            b = self._gate(normal() * config.brightness_std, 0)
            shift = torch.zeros(n, 4, 4, device=device)
            shift[:, :3, 3] = b[:, None]
            m = (eye + shift) @ m
        if config.contrast_std:
            c = self._gate(torch.exp2(normal() * config.contrast_std), 1)
            m = torch.diag_embed(torch.stack([c, c, c, torch.ones_like(c)], dim=-1)) @ m
        luma = torch.tensor([1.0, 1.0, 1.0, 0.0], device=device) / 3**0.5
        project = torch.outer(luma, luma)
        if config.luma_flip:
            f = self._gate((torch.rand(n, device=device) * 2).floor(), 0)
            m = (eye - 2 * project * f[:, None, None]) @ m
        if config.hue:
            m = _rotate_about_grey(self._gate((torch.rand(n, device=device) * 2 - 1) * config.hue, 0)) @ m
        if config.saturation_std:
            s = self._gate(torch.exp2(normal() * config.saturation_std), 1)
            m = (project + (eye - project) * s[:, None, None]) @ m
        flat = images.flatten(2)
        return (m[:, :3, :3] @ flat + m[:, :3, 3:]).reshape(images.shape)


def _rotate_about_grey(angle: Tensor) -> Tensor:
    """Rotation [N,4,4] of RGB about the grey axis by ``angle`` (Rodrigues' formula)."""
    axis = 3**-0.5
    k = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]], device=angle.device)
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    rotation = torch.eye(3, device=angle.device) + s * k + (1 - c) * (k @ k)
    return F.pad(rotation, [0, 1, 0, 1]) + torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0], device=angle.device))


class AdaptiveProbability:
    """Raise or lower an `AugmentPipe`'s ``p`` so that ``E[sign(D(real))]`` stays at ``target`` (eq. 1 of the paper).

    ``speed_images`` is the number of images in which ``p`` may travel from 0 to 1.
    """

    def __init__(self, pipe: AugmentPipe, *, target: float = 0.6, speed_images: float = 500_000, limit: float = 0.85):
        self.pipe = pipe
        self.target = target
        self.speed_images = speed_images
        self.limit = limit

    def update(self, mean_sign: float, images: int) -> None:
        """Account for ``images`` real images whose logits' signs averaged ``mean_sign``."""
        step = images / self.speed_images * (1 if mean_sign > self.target else -1)
        self.pipe.p.add_(step).clamp_(0, self.limit)
