"""How close an inversion came: mean squared error, structural similarity, perceptual distance, identity.

Legend: ``N`` images, ``R`` resolution; images [N,3,R,R] in [-1,1]; every measure is [N].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentedit.cuda_ops.blur import blurred, gaussian_window
from latentedit.networks import FacePerception

_WINDOW = 11
_SIGMA = 1.5


def mse(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared error on [-1,1], so 4 at most; images are clamped first, as they are when saved."""
    return (image.clamp(-1, 1) - target).square().mean(dim=(1, 2, 3))


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, 1 for equal images (Wang et al. 2004, eq. 13; mean over channels and positions).

    Gaussian window of 11 pixels and sigma 1.5, K1 = .01, K2 = .03, dynamic range 2; only windows inside the image
    count. Images below 11 px are covered by one window cut to their size.
    """
    height, width = image.shape[2:]
    down, across = (gaussian_window(min(_WINDOW, size), _SIGMA, image) for size in (height, width))
    x, y = image.clamp(-1, 1), target

    def blur(value: Tensor) -> Tensor:
        return blurred(value, across, down, border="valid")

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mean_x, mean_y = blur(x), blur(y)
    variance_x = blur(x * x) - mean_x * mean_x
    variance_y = blur(y * y) - mean_y * mean_y
    covariance = blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (variance_x + variance_y + c2)
    )
    return similarity.mean(dim=(1, 2, 3))


@torch.no_grad()
def measure(image: Tensor, target: Tensor, perception: FacePerception | None) -> dict[str, Tensor]:
    """All measures by name: ``mse``, ``ssim`` and, with a perception network, ``perceptual`` (0 for equal images)
    and ``identity`` (cosine of the embeddings, 1 for the same face)."""
    image = image.clamp(-1, 1)
    values = {"mse": mse(image, target), "ssim": ssim(image, target)}
    if perception is not None:
        a, b = perception.perceive(image), perception.perceive(target)
        values["perceptual"] = perception.perceptual_distance(a, b)
        values["identity"] = nn.functional.cosine_similarity(a.identity, b.identity, dim=1)
    return values
