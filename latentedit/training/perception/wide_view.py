"""Training of the wide view's head on ImageNet's features as they are: seconds, once the features are computed.

Legend: ``n`` crops, ``K`` attributes, ``F`` features, ``V`` variants of every crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.networks.perception import ATTRIBUTES
from latentedit.networks.wide_view import WideConfig, WideView
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.augment import AugmentConfig, augment
from latentedit.training.perception.finish import platt

HAIR = ("hat", "bald", "bangs", "receding_hairline", "black_hair", "blond_hair", "gray_hair", "wavy_hair")
"""What the wide view reads better than the tight crop shows it (held-out CelebA; see the model card)."""

HAIR_AUGMENT = AugmentConfig(
    size=96, sizes=(56, 64, 72, 80, 96, 96), rotation=10.0, scale=0.12, shift=0.05, colour=0.12, grey=0.0, erase=0.1
)
"""Augmentations that leave a colour of hair what it is."""


@dataclass(frozen=True)
class WideTrainingConfig:
    """One run: ``passes`` of the head over ``variants`` augmented copies of the training crops.

    ``feature_dropout`` is the share of the features that are hidden at each step; ``rarest`` limits the weight of the
    positives of a rare attribute, the root of their odds. Chosen by held-out ROC areas: trained further or with less
    decay, the head fits the training crops alone.
    """

    variants: int = 2
    passes: int = 20
    batch: int = 128
    rate: float = 1e-3
    weight_decay: float = 0.3
    feature_dropout: float = 0.3
    rarest: float = 4.0
    seed: int = 0
    augment: AugmentConfig = field(default_factory=lambda: HAIR_AUGMENT)


@dataclass(frozen=True)
class Features:
    """Features [V,n,F] of labelled crops, and their labels [n,K] (NaN: unknown)."""

    x: Tensor
    labels: Tensor


def train_wide_view(
    view: WideView,
    table: FaceTable,
    config: WideTrainingConfig | None = None,
    *,
    taught: tuple[str, ...] = tuple(name for name in ATTRIBUTES if name != "mask"),
    progress: Callable[[int], None] | None = None,
) -> None:
    """Train and calibrate the head of ``view`` on ``table``, in place; its trunk stays as it is.

    The hidden units learn all attributes ``taught``, of which only those of ``view`` are kept: more to explain leaves
    less to chance. ``progress`` is called with the number of crops whose features were computed.
    """
    config = config or WideTrainingConfig()
    torch.manual_seed(config.seed)
    view.eval().requires_grad_(False)
    names = tuple(dict.fromkeys((*view.config.attributes, *taught)))
    data = compute_features(view, table, "train", names, config, progress)
    mean, deviation = data.x.mean((0, 1)), data.x.std((0, 1)) + 1e-3
    scaled = Features((data.x - mean) / deviation, data.labels)
    hidden, head = _train_head(scaled, view.config, len(names), config)
    _put(view, hidden, head, mean, deviation)
    calibrate_wide_view(view, table)


@torch.no_grad()
def compute_features(
    view: WideView,
    table: FaceTable,
    split: str,
    names: tuple[str, ...],
    config: WideTrainingConfig | None,
    progress: Callable[[int], None] | None = None,
    *,
    batch: int = 64,
) -> Features:
    """Features of the crops of ``split`` that have the labels ``names``; augmented, unless ``config`` is None."""
    rows, labels = labelled_rows(table, split, names)
    variants = []
    for variant in range(1 if config is None else config.variants):
        parts = []
        for start in range(0, len(rows), batch):
            images = table.images(rows[start : start + batch])
            if config is None:
                images = _resized(images, view.config.size)
            else:
                seed = (config.seed * 1000 + variant) * 1_000_003 + start
                images = augment(images, config.augment, torch.Generator().manual_seed(seed)).images
            parts.append(view.features(images))
            if progress is not None:
                progress(len(images))
        variants.append(torch.cat(parts))
    return Features(torch.stack(variants), torch.from_numpy(labels))


def labelled_rows(table: FaceTable, split: str, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``split`` with any of the labels ``names``, and those labels float32 [n,K] (NaN: unknown)."""
    rows = table.where(split)
    labels = table.attributes[rows][:, [ATTRIBUTES.index(name) for name in names]]
    known = ~np.isnan(labels).all(1)
    return rows[known], labels[known]


def _resized(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images.float() / 127.5 - 1, (size, size), mode="bilinear", antialias=True)


def _train_head(
    data: Features, network: WideConfig, count: int, config: WideTrainingConfig
) -> tuple[nn.Linear, nn.Linear]:
    hidden, head = nn.Linear(data.x.shape[2], network.hidden), nn.Linear(network.hidden, count)
    model = nn.Sequential(
        nn.Dropout(config.feature_dropout), hidden, nn.ReLU(), nn.Dropout(network.dropout), head
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    weights = _positive_weights(data.labels, config.rarest)
    variants, crops = data.x.shape[:2]
    steps = max(config.passes * crops // config.batch, 1)
    rng = torch.Generator().manual_seed(config.seed)
    for step in range(steps):
        rows = torch.randint(crops, [config.batch], generator=rng)
        chosen = torch.randint(variants, [config.batch], generator=rng)
        wanted = data.labels[rows]
        known = ~wanted.isnan()
        error = F.binary_cross_entropy_with_logits(
            model(data.x[chosen, rows]), wanted.nan_to_num(), pos_weight=weights, reduction="none"
        )
        optimiser.param_groups[0]["lr"] = config.rate * (0.001 + 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimiser.zero_grad()
        ((error * known).sum() / known.sum()).backward()
        optimiser.step()
    return hidden, head


def _positive_weights(labels: Tensor, rarest: float) -> Tensor:
    share = labels.nanmean(0).clamp(1e-3, 1 - 1e-3)
    return ((1 - share) / share).sqrt().clamp(1.0, rarest)


@torch.no_grad()
def _put(view: WideView, hidden: nn.Linear, head: nn.Linear, mean: Tensor, deviation: Tensor) -> None:
    """The trained head, its features' standardisation folded into it, its first attributes kept."""
    view.hidden.weight.copy_(hidden.weight / deviation)
    view.hidden.bias.copy_(hidden.bias - (hidden.weight / deviation) @ mean)
    kept = len(view.config.attributes)
    view.head.weight.copy_(head.weight[:kept])
    view.head.bias.copy_(head.bias[:kept])


@torch.no_grad()
def calibrate_wide_view(view: WideView, table: FaceTable) -> None:
    """Set ``slope`` and ``offset`` by Platt scaling on the validation crops."""
    view.slope.fill_(1)
    view.offset.fill_(0)
    data = compute_features(view, table, "valid", view.config.attributes, None)
    logits = view.classify(data.x[0])
    for index in range(logits.shape[1]):
        known = ~data.labels[:, index].isnan()
        view.slope[index], view.offset[index] = platt(logits[known, index], data.labels[known, index])
