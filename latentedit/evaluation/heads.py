"""Figures of small heads: how near their pictures come to the full render averaged down, and what they cost.

Legend: ``N`` samples, ``r`` side of a small picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentedit.faces.detect import detect
from latentedit.images import resize, to_pil
from latentedit.latents import seed_z
from latentedit.networks.protocols import StyleGenerator
from latentedit.training.encoding.chips import chip_frames, chips
from latentedit.training.face_teacher import DlibFaceNetwork

FIRST_SEED = 500_000
"""Samples of seeds from here on: none that training saw."""


@dataclass(frozen=True)
class SmallPicture:
    """A sample's full render averaged down and the head's picture, [1,3,r,r] each, and the figures by name."""

    side: int
    wanted: Tensor
    found: Tensor
    figures: dict[str, float]


@torch.no_grad()
def judge_heads(generator: StyleGenerator, count: int, *, psi: float = 0.8) -> Iterator[SmallPicture]:
    """Render samples through every head and at full size.

    ``psnr`` is over [-1,1], ``dlib`` the distance of dlib's descriptors (both pictures cut by the landmarks of the full
    one; missing where no face is found), ``grid`` the energy of the difference at the finest checkered pattern as a
    multiple of what white noise of that energy would have there, and ``share`` the time beside that of the full render.
    """
    face = DlibFaceNetwork()
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        ws = generator.mapping(seed_z([seed], generator.z_dim), truncation_psi=psi)
        start = time.perf_counter()
        full = generator.synthesis(ws).clamp(-1, 1)
        seconds = time.perf_counter() - start
        crop = to_pil(resize(full, 256))[0]
        faces = detect(crop, detector="hog")
        for side in generator.synthesis.preview_resolutions:
            start = time.perf_counter()
            found = generator.synthesis(ws, resolution=side)
            share = (time.perf_counter() - start) / seconds
            wanted, found = resize(full, side), found.clamp(-1, 1)
            mse = float((found - wanted).square().mean())
            figures = {"psnr": 10 * np.log10(4 / max(mse, 1e-12)), "share": share, "grid": grid(found - wanted)}
            if faces:
                frames = chip_frames(faces[0].landmarks[None], 256)
                a, b = (face(chips(image, frames)) for image in (wanted, found))
                figures["dlib"] = float((a - b).norm())
                figures["dlib_full"] = float((face(chips(full, frames)) - b).norm())
            yield SmallPicture(side, wanted, found, figures)


def grid(difference: Tensor) -> float:
    """How much of ``difference`` [1,3,r,r] lies in patterns that repeat every two pixels: 1 for white noise.

    The transform's columns, rows and corner at the highest frequency hold what a head of 2 x 2 cells leaves behind.
    """
    spectrum = torch.fft.fft2(difference - difference.mean(dim=(2, 3), keepdim=True)).abs().square().mean(dim=(0, 1))
    half = spectrum.shape[0] // 2
    lines = torch.cat([spectrum[half], spectrum[:, half]])
    return float(lines.mean() / spectrum.mean())


def summary(pictures: list[SmallPicture]) -> dict[int, dict[str, float]]:
    """Means of the figures by the side of the head; the median of the shares of time."""
    result: dict[int, dict[str, float]] = {}
    for side in sorted({picture.side for picture in pictures}):
        own = [picture.figures for picture in pictures if picture.side == side]
        names = sorted({name for figures in own for name in figures})
        means = {name: float(np.mean([figures[name] for figures in own if name in figures])) for name in names}
        result[side] = means | {"share": float(np.median([figures["share"] for figures in own]))}
    return result
