"""Where the training of an encoder begins: whitened coordinates of W, ImageNet weights, and a head in closed form.

Legend: ``N`` pictures, ``D`` width of w, ``F`` pooled features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from latentedit.networks.protocols import StyleGenerator
from latentedit.networks.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from latentedit.training.encoding.degrade import DegradeConfig, degrade
from latentedit.training.encoding.imagenet import load_imagenet
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.encoding.trainer import to_signed

SAMPLES = 20_000
FLOOR = 0.1
"""Least scale of an axis as a share of the root mean square of all: axes that hardly vary are noise when whitened."""


@torch.no_grad()
def latent_basis(generator: StyleGenerator, samples: int = SAMPLES) -> Tensor:
    """Principal axes of W times their standard deviations [D,D], from ``samples`` latents, always the same ones."""
    random = np.random.RandomState(7)
    center = generator.mapping.w_avg.double().cpu()
    covariance = torch.zeros(generator.w_dim, generator.w_dim, dtype=torch.float64)
    for start in range(0, samples, 500):
        z = torch.from_numpy(random.randn(min(500, samples - start), generator.z_dim)).float()
        labels = torch.from_numpy(random.randint(max(generator.c_dim, 1), size=len(z)))
        c = torch.nn.functional.one_hot(labels, generator.c_dim).float() if generator.c_dim else None
        device = generator.mapping.w_avg.device
        w = generator.mapping(z.to(device), None if c is None else c.to(device))[:, 0].double().cpu() - center
        covariance += w.t() @ w
    values, vectors = torch.linalg.eigh(covariance / samples)
    scales = values.clamp_min(0).sqrt()
    scales = scales.clamp_min(FLOOR * float(values.clamp_min(0).mean().sqrt()))
    return (vectors * scales).t().float().contiguous()


def new_encoder(
    generator: StyleGenerator, config: TrunkEncoderConfig | None = None, *, imagenet: bool = True
) -> TrunkEncoder:
    """An encoder for ``generator`` on ImageNet weights, or on random ones, whose head knows nothing yet.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    config = config or TrunkEncoderConfig(num_ws=generator.num_ws, w_dim=generator.w_dim)
    encoder = TrunkEncoder(config).eval()
    if imagenet:
        load_imagenet(encoder.trunk)
    encoder.w_avg.copy_(generator.mapping.w_avg)
    encoder.basis.copy_(latent_basis(generator))
    return encoder


@torch.no_grad()
def reduce_by_variance(encoder: TrunkEncoder, pairs: Pairs, images: int = 128) -> None:
    """Set the 1x1 convolutions to the principal axes of the features' channels."""
    sums: list[Tensor] = []
    for rows in np.array_split(np.arange(min(images, len(pairs))), max(images // 16, 1)):
        for index, x in enumerate(encoder.trunk(to_signed(pairs.pictures(rows)))):
            flat = x.permute(1, 0, 2, 3).flatten(1).double()
            flat = flat - flat.mean(dim=1, keepdim=True)
            product = flat @ flat.t()
            sums[index : index + 1] = [product if len(sums) <= index else sums[index] + product]
    for product, reduce in zip(sums, encoder.reduce, strict=True):
        _, vectors = torch.linalg.eigh(product)
        axes = vectors[:, -reduce.weight.shape[0] :].t().flip(0)  # type: ignore[index]
        reduce.weight.copy_(axes.float()[:, :, None, None])  # type: ignore[operator]


@torch.no_grad()
def fit_head(
    encoder: TrunkEncoder,
    pairs: Pairs,
    *,
    images: int = 4000,
    ridge: float = 3000.0,
    degraded: float = 0.5,
    seed: int = 0,
) -> Iterator[int]:
    """Set the linear head by ridge regression on the pooled features of ``images`` pictures, in place; yields how many
    are done. A share of them is ``degraded``, so that the head does not trust what blur and noise take away.
    """
    random = np.random.default_rng(seed)
    images = min(images, len(pairs))
    chosen = np.sort(random.permutation(len(pairs))[:images])
    features, wanted = [], []
    unbasis = torch.linalg.inv(encoder.basis.double())
    for rows in np.array_split(chosen, -(-images // 16)):
        pictures = pairs.pictures(rows)
        for i in np.flatnonzero(random.random(len(rows)) < degraded):
            pictures[i] = degrade(pictures[i], random, DegradeConfig())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features.append(encoder.pooled(to_signed(pictures)))
        wanted.append((pairs.latents(rows).mean(dim=1).double() - encoder.w_avg) @ unbasis)
        yield sum(len(part) for part in features)
    x, y = torch.cat(features), torch.cat(wanted)
    encoder.mean.copy_(x.mean(dim=0))
    encoder.spread.copy_(x.std(dim=0).clamp_min(1e-3))
    x = ((x - encoder.mean) / encoder.spread).double()
    middle = y.mean(dim=0)
    gram = x @ x.t()
    gram.diagonal().add_(ridge)
    encoder.base.weight.copy_((torch.linalg.solve(gram, y - middle).t() @ x).float())
    encoder.base.bias.copy_(middle.float())


@torch.no_grad()
def explained(encoder: TrunkEncoder, pairs: Pairs, batch: int = 16) -> dict[str, float]:
    """Shares of the variance of the held-out ``pairs``' latents that the encoder's base explains: ``r2_w`` in W,
    ``r2_u`` in whitened coordinates."""
    found, wanted = [], []
    unbasis = torch.linalg.inv(encoder.basis.double()).float()
    for rows in np.array_split(np.arange(len(pairs)), -(-len(pairs) // batch)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(encoder.coordinates(to_signed(pairs.pictures(rows)))[0].float())
        wanted.append((pairs.latents(rows).mean(dim=1) - encoder.w_avg) @ unbasis)
    u, v = torch.cat(found), torch.cat(wanted)
    centred = v - v.mean(dim=0)
    errors = {"r2_w": ((u - v) @ encoder.basis, centred @ encoder.basis), "r2_u": (u - v, centred)}
    return {name: float(1 - wrong.square().sum() / all_.square().sum()) for name, (wrong, all_) in errors.items()}
