"""How a generator stands against photos it never saw: Fréchet multiple, sharpness, and faces found."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy import linalg
from torch import Tensor

from latentedit.errors import MissingExtraError
from latentedit.evaluation.spectrum import sharpness
from latentedit.faces.detect import DetectorName, detect
from latentedit.images import to_pil
from latentedit.latents import seed_z
from latentedit.networks import PerceptionNetwork, StyleGenerator
from latentedit.training.data.crops import FaceCrops

TRUNCATED = 500
"""Samples in which faces are searched, at psi 0.7 and of seeds from 1,000,000 on."""


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to features [N,D] and [M,D] (Heusel et al. 2017, eq. 6)."""
    mean = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b)
    return float(mean + np.trace(cov_a + cov_b - 2 * np.real(root)))


def frechet_multiple(samples: np.ndarray, photos: np.ndarray, *, seed: int = 0) -> float:
    """Distance of ``samples`` to ``photos`` as a multiple of that between two halves of ``photos``; 1 is perfect.

    The samples are cut to half the number of photos, since the estimate's bias depends on the number.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    half = len(photos) // 2
    first, second = photos[order[:half]], photos[order[half : 2 * half]]
    if len(samples) < half:
        raise ValueError(f"{len(samples)} samples are fewer than half of {len(photos)} photos.")
    return frechet_distance(samples[:half], first) / frechet_distance(second, first)


@torch.no_grad()
def sample(
    generator: StyleGenerator, count: int, psi: float = 1.0, *, first_seed: int = 0, batch_size: int = 50
) -> Tensor:
    """Samples [count,3,R,R] of consecutive seeds, on the CPU."""
    device = generator.mapping.w_avg.device
    parts = []
    for start in range(first_seed, first_seed + count, batch_size):
        z = seed_z(range(start, min(start + batch_size, first_seed + count)), generator.z_dim).to(device)
        parts.append(generator.synthesis(generator.mapping(z, truncation_psi=psi)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def features(network: PerceptionNetwork, images: Tensor, batch_size: int = 64) -> np.ndarray:
    """Pooled deepest perception features [N,C] of images [N,3,R,R], for the Fréchet distance."""
    device = next(network.parameters()).device
    parts = [
        network.perceive(chunk.to(device)).features[-1].mean(dim=[2, 3]).cpu() for chunk in images.split(batch_size)
    ]
    return torch.cat(parts).double().numpy()


def faces_found(images: Tensor, side: int = 160, *, detector: DetectorName = "hog") -> np.ndarray:
    """Whether dlib finds a face [N] in images [N,3,R,R]; they are enlarged and given a margin. ``detector`` as in
    :func:`latentedit.faces.detect.detect`.

    Raises:
        MissingExtraError: dlib is not installed.
    """
    found = []
    for picture in to_pil(images):
        large = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
        padded = np.pad(large, ((side // 4, side // 4), (side // 4, side // 4), (0, 0)), mode="edge")
        found.append(bool(detect(Image.fromarray(padded), detector=detector)))
    return np.array(found)


def measure_samples(
    generator: StyleGenerator, network: PerceptionNetwork, faces: FaceCrops, count: int = 10_000, *, cnn: bool = False
) -> dict[str, float]:
    """Figures of samples against the held-out ``faces``, by name; faces are not searched where dlib is missing.

    dlib's HOG detector overlooks many a masked face, of real photos too: the faces found among samples without a mask
    are a figure of their own, and with ``cnn`` those that it or dlib's CNN detector finds, which takes a second for
    every sample that the first overlooks.

    ``count`` samples are set against as many photos, or against half of ``faces`` where these are fewer, since the
    other half is the yardstick.
    """
    samples = sample(generator, min(count, max(len(faces) // 2, 1)))
    photos = faces.tensor(np.random.default_rng(0).permutation(len(faces))[: 2 * count])
    figures = {
        "frechet_multiple": frechet_multiple(features(network, samples), features(network, photos)),
        "sharpness_samples": sharpness(samples[:1000], photos[:1000]),
    }
    truncated = sample(generator, min(count, TRUNCATED), 0.7, first_seed=1_000_000)
    try:
        found = faces_found(truncated)
    except MissingExtraError:
        return figures
    with torch.no_grad():
        bare = network.perceive(truncated.to(next(network.parameters()).device))["mask"].cpu().numpy() < 0.5
    shares = {"faces_found_psi07": float(found.mean())}
    if bare.any():
        shares["faces_found_unmasked_psi07"] = float(found[bare].mean())
    if cnn:
        missed = torch.from_numpy(~found)
        by_cnn = faces_found(truncated[missed], detector="cnn")
        shares["faces_found_either_psi07"] = float((found.sum() + by_cnn.sum()) / len(found))
    return shares | figures
