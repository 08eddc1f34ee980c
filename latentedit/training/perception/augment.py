"""Cheap batched augmentations for the perception network: resolution, geometry, colour, blur, compression, noise.

Legend: ``N`` images, ``S`` the size of the network's input. Randomness comes from one CPU generator, so a run repeats
on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the augmentations; probabilities are per image.

    ``sizes`` are the sides that photos are first shrunk to (a chunk of the batch shares one), ``rotation`` is in
    degrees, ``scale`` and ``shift`` are fractions of the crop.
    """

    size: int = 64
    sizes: tuple[int, ...] = (32, 40, 48, 64, 64, 64, 80, 96, 128)
    rotation: float = 15.0
    scale: float = 0.12
    shift: float = 0.06
    colour: float = 0.25
    grey: float = 0.05
    blur: float = 0.15
    compress: float = 0.2
    noise: float = 0.2
    erase: float = 0.05


class Augmented(NamedTuple):
    """``images`` [N,3,S,S] in [-1,1]; ``flipped`` [N] (left and right exchanged); ``roll`` [N] degrees, clockwise."""

    images: Tensor
    flipped: Tensor
    roll: Tensor


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) * (high - low) + low


def _chance(count: int, probability: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) < probability


def augment(images: Tensor, config: AugmentConfig, rng: torch.Generator) -> Augmented:
    """A random variant of every image in ``images`` (uint8 [N,3,H,W])."""
    count, device = len(images), images.device
    flipped = _chance(count, 0.5, rng)
    roll = torch.randn(count, generator=rng).clamp(-2, 2) * (config.rotation / 2)
    x = _warp(images, flipped, roll, config, rng)
    x = _colour(x, config, rng)
    x = _degrade(x, config, rng)
    x = _erase(x, config, rng)
    return Augmented(x.clamp(-1, 1), flipped.to(device), roll.to(device))


def _warp(images: Tensor, flipped: Tensor, roll: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Shrink chunks to a random size, then rotate, scale, shift and mirror each image in one bilinear sampling."""
    count = len(images)
    angle = roll * (math.pi / 180)
    zoom = 1 + torch.randn(count, generator=rng).clamp(-2, 2) * (config.scale / 2)
    mirror = 1 - 2 * flipped.float()
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    shift = (torch.randn(2, count, generator=rng).clamp(-2, 2)) * config.shift
    # theta maps output to input coordinates: turning the picture clockwise samples it counter-clockwise.
    theta = torch.stack(
        [torch.stack([cos * mirror, sin * mirror, shift[0]], 1), torch.stack([-sin, cos, shift[1]], 1)], 1
    )
    grid = F.affine_grid(theta.to(images.device), [count, 3, config.size, config.size], align_corners=False)
    chunks = 4 if count >= 8 else 1
    picks = torch.randint(len(config.sizes), [chunks], generator=rng).tolist()
    parts = zip(images.chunk(chunks), grid.chunk(chunks), picks, strict=False)
    return torch.cat([_sample(part, cells, config.sizes[pick]) for part, cells, pick in parts])


def _sample(images: Tensor, grid: Tensor, size: int) -> Tensor:
    if size != images.shape[-1]:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    x = images.float().contiguous() / 127.5 - 1
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _colour(x: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation, tint and greyscale."""
    count, amount = len(x), config.colour

    def column(low: float, high: float, channels: int = 1) -> Tensor:
        return _uniform(count * channels, low, high, rng).view(count, channels, 1, 1).to(x.device)

    grey = x.mean(dim=1, keepdim=True)
    saturation = column(1 - 2 * amount, 1 + 2 * amount)
    saturation[_chance(count, config.grey, rng).to(x.device)] = 0
    x = grey + (x - grey) * saturation
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    x = mean + (x - mean) * column(1 - amount, 1 + amount) + column(-amount, amount)
    return x + column(-amount / 4, amount / 4, 3)


def _degrade(x: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Blur, block compression and noise, each on its own share of the images."""
    x = x.clamp(-1, 1)
    chosen = _chance(len(x), config.blur, rng).nonzero()[:, 0].to(x.device)
    if len(chosen):
        sigma = _uniform(1, 0.4, 1.2, rng).item()
        taps = torch.exp(-(torch.arange(-2, 3, device=x.device) ** 2) / (2 * sigma**2))
        kernel = (torch.outer(taps, taps) / taps.sum() ** 2).expand(3, 1, 5, 5)
        x = x.index_copy(0, chosen, F.conv2d(F.pad(x[chosen], [2] * 4, mode="replicate"), kernel, groups=3))
    chosen = _chance(len(x), config.compress, rng).nonzero()[:, 0].to(x.device)
    if len(chosen):
        step = _uniform(len(chosen), 0.02, 0.15, rng).to(x.device)
        x = x.index_copy(0, chosen, compress(x[chosen], step))
    chosen = _chance(len(x), config.noise, rng).nonzero()[:, 0]
    if len(chosen):
        strength = _uniform(len(chosen), 0.0, 0.12, rng).view(-1, 1, 1, 1)
        noise = torch.randn([len(chosen), *x.shape[1:]], generator=rng) * strength
        x = x.index_add(0, chosen.to(x.device), noise.to(x.device))
    return x


def compress(x: Tensor, step: Tensor) -> Tensor:
    """JPEG-like loss: 8x8 cosine transform, rounded to multiples of ``step`` [N] growing with frequency."""
    count, channels, height, width = x.shape
    k = torch.arange(8, dtype=x.dtype, device=x.device)
    basis = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) * 0.5
    basis[0] *= 0.5**0.5
    blocks = x.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.t()
    quantum = (1 + k[:, None] + k) * step.view(-1, 1, 1, 1, 1, 1)
    blocks = basis.t() @ ((spectrum / quantum).round() * quantum) @ basis
    return blocks.transpose(3, 4).reshape(x.shape)


def _erase(x: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Cover a random rectangle (up to a third of the side) with one colour, so that no single part decides."""
    size = x.shape[-1]
    for index in _chance(len(x), config.erase, rng).nonzero()[:, 0].tolist():
        height, width = torch.randint(size // 8, size // 3, [2], generator=rng).tolist()
        top, left = torch.randint(size - size // 3, [2], generator=rng).tolist()
        colour = _uniform(3, -1, 1, rng).to(x.device)
        x[index, :, top : top + height, left : left + width] = colour[:, None, None]
    return x
