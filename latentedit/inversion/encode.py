"""Latents by an encoder: one forward pass, and optional passes of feedback.

Legend: ``N`` photos, ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentedit.images import resize
from latentedit.inversion.losses import pixel_loss


@torch.no_grad()
def encode(generator: Any, encoder: Any, target: Tensor, *, feedback: int = 0) -> Tensor:
    """Latents [N,L,D] of the crops ``target`` [N,3,R,R] in [-1,1].

    Each pass of ``feedback`` encodes the current image as well and moves the latent by the difference of the two codes,
    a fixed-point iteration in the spirit of ReStyle (Alaluf et al. 2021, eq. 2) that needs no encoder trained for it.
    A photo keeps a pass only where its pixels came closer.
    """
    if getattr(getattr(encoder, "config", None), "iterative", False):
        return _refine(generator, encoder, target)
    goal = _apply(encoder, target)
    ws = goal
    if not feedback:
        return ws
    image = generator.synthesis(ws, noise_mode="const")
    loss = pixel_loss(image, target)
    for _ in range(feedback):
        candidate = ws + goal - _apply(encoder, image.clamp(-1, 1))
        rendered = generator.synthesis(candidate, noise_mode="const")
        attempt = pixel_loss(rendered, target)
        better = (attempt < loss)[:, None, None]
        ws = torch.where(better, candidate, ws)
        image = torch.where(better[..., None], rendered, image)
        loss = torch.minimum(attempt, loss)
    return ws


def _apply(encoder: Any, images: Tensor) -> Tensor:
    size = getattr(getattr(encoder, "config", None), "resolution", images.shape[-1])
    return encoder(resize(images, size)).float()


def _refine(generator: Any, encoder: Any, target: Tensor) -> Tensor:
    """The loop of an encoder that was trained to correct itself (ReStyle), at the size that it was trained at."""
    size = encoder.config.resolution

    def render(ws: Tensor) -> Tensor:
        return resize(generator.synthesis(ws, noise_mode="const").clamp(-1, 1), size)

    return encoder.refine(resize(target, size), render).float()


def encode_each(generator: Any, encoder: Any, target: Tensor, *, feedback: int = 0) -> Tensor:
    """As `encode`, one photo at a time: what a photo gives does not depend on its neighbours, to the last bit."""
    return torch.cat([encode(generator, encoder, row, feedback=feedback) for row in target.split(1)])
