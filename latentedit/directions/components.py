"""Directions without labels: principal components of W, and the singular vectors of the style weights.

Härkönen et al. 2020 ("GANSpace"), section 3.1: principal components of sampled ``w``.
Shen and Zhou 2021 ("Closed-Form Factorization of Latent Semantics in GANs"), eq. 6: eigenvectors of ``A^T A``, where
``A`` stacks the weights that turn ``w`` into styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.direction import Direction
from latentedit.directions.fitting.fit import as_w, fingerprint_of
from latentedit.errors import DirectionError
from latentedit.latents import layer_indices

if TYPE_CHECKING:
    from latentedit.networks import StyleGenerator


def discover_components(
    ws: Tensor | np.ndarray,
    count: int = 10,
    *,
    generator: StyleGenerator | None = None,
    layers: str | Sequence[int] | None = None,
) -> list[Direction]:
    """The ``count`` strongest principal components of ``ws`` [N, L, w_dim] or [N, w_dim], named ``pc0``, ``pc1``, ...

    ``settings["share"]`` is the share of the variance, ``metrics["spread"]`` the standard deviation along it.

    Raises:
        DirectionError: fewer latents or dimensions than components.
    """
    w = as_w(ws).astype(np.float64)
    if not 1 <= count <= min(len(w) - 1, w.shape[1]):
        raise DirectionError(
            f"{count} components cannot be had from {len(w)} latents of {w.shape[1]} dimensions.", "Ask for fewer."
        )
    mean = w.mean(0)
    covariance = (w - mean).T @ (w - mean) / (len(w) - 1)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:count]
    return [
        _found(f"pc{rank}", vectors[:, index], generator, layers, mean, "components", values[index] / values.sum())
        for rank, index in enumerate(order)
    ]


def discover_weights(
    generator: StyleGenerator, count: int = 10, *, layers: str | Sequence[int] | None = None
) -> list[Direction]:
    """The ``count`` directions of w that change the styles of ``layers`` most, named ``sefa0``, ``sefa1``, ...

    Raises:
        DirectionError: more directions than dimensions, or a generator without affine style layers.
        LayerError: layers that the generator does not have.
    """
    if not 1 <= count <= generator.w_dim:
        raise DirectionError(f"{count} directions cannot be had from {generator.w_dim} dimensions.", "Ask for fewer.")
    resolutions = generator.synthesis.layer_resolutions
    chosen = layer_indices(layers, resolutions)
    rows = [weight for row, weight in generator.synthesis.style_weights() if row in chosen]
    if not rows:
        raise DirectionError("The generator has no affine style layers to factorise.", "Use principal components.")
    stacked = torch.cat(rows).double()
    values, vectors = torch.linalg.eigh(stacked.T @ stacked)
    mean = generator.mapping.w_avg.double().cpu().numpy()
    order = torch.argsort(values, descending=True)[:count]
    return [
        _found(f"sefa{rank}", vectors[:, index].cpu().numpy(), generator, layers, mean, "weights",
               float(values[index] / values.sum()))
        for rank, index in enumerate(order.tolist())
    ]  # fmt: skip


def _found(
    name: str,
    normal: np.ndarray,
    generator: StyleGenerator | None,
    layers: str | Sequence[int] | None,
    mean: np.ndarray,
    method: str,
    share: float,
) -> Direction:
    # The sign of an eigenvector is arbitrary; the largest entry is made positive so that results are reproducible.
    normal = normal * np.sign(normal[np.abs(normal).argmax()])
    acting = None
    if layers is not None and generator is not None:
        acting = layer_indices(layers, generator.synthesis.layer_resolutions)
    return Direction(
        name=name,
        normal=torch.from_numpy(np.ascontiguousarray(normal)),
        intercept=-float(normal @ mean),
        layers=acting,
        fingerprint=fingerprint_of(generator),
        settings={"discovered": method, "share": float(share)},
    )
