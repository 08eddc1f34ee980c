"""Training of the wide view: hair and what surrounds the face, learnt in minutes from ImageNet's features.

Legend: ``n`` crops, ``K`` attributes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.networks.perception import ATTRIBUTES
from latentedit.networks.wide_view import WideConfig, WideView
from latentedit.training.imagenet import load_imagenet
from latentedit.training.perception_augment import AugmentConfig, augment
from latentedit.training.perception_calibrate import platt
from latentedit.training.perception_data import FaceTable

HAIR_AUGMENT = AugmentConfig(
    size=96, sizes=(56, 64, 72, 80, 96, 96), rotation=10.0, scale=0.12, shift=0.05, colour=0.12, grey=0.0, erase=0.1
)
"""Augmentations that leave a colour of hair what it is."""


@dataclass(frozen=True)
class WideTrainingConfig:
    """One run: ``head_passes`` over the training crops for the head alone, then ``passes`` for the trunk too, which
    knows ImageNet and learns at ``trunk_rate``.

    ``rarest`` limits the weight of the positives of a rare attribute, the root of their odds.
    """

    head_passes: float = 3.0
    passes: float = 4.0
    batch: int = 32
    rate: float = 1e-3
    trunk_rate: float = 3e-4
    weight_decay: float = 0.05
    warmup: float = 0.05
    ema_steps: float = 200.0
    rarest: float = 4.0
    seed: int = 0
    augment: AugmentConfig = field(default_factory=lambda: HAIR_AUGMENT)


def train_wide_view(
    table: FaceTable,
    network: WideConfig,
    config: WideTrainingConfig,
    *,
    report: Callable[[int, float], None] | None = None,
) -> WideView:
    """A wide view that was trained on the training crops of ``table``: its moving average, not calibrated yet.

    ``report`` is called with the steps done and the loss of each.
    """
    torch.manual_seed(config.seed)
    view = WideView(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    load_imagenet(view.trunk)
    average = copy.deepcopy(view).eval().requires_grad_(False)
    rows, labels = labelled_rows(table, "train", network.attributes)
    weights = _positive_weights(labels, config.rarest)
    stretches = (int(passes * len(rows) / config.batch) for passes in (config.head_passes, config.passes))
    heads = [*view.hidden.parameters(), *view.head.parameters()]
    groups = [{"params": heads, "peak": config.rate}]
    done = 0
    for steps in stretches:
        optimiser = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
        tuned = len(groups) > 1
        for step, chosen in enumerate(_batches(len(rows), steps, config.batch, config.seed + done)):
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + done)
            batch = augment(table.images(rows[chosen]), config.augment, rng)
            view.train()
            with torch.set_grad_enabled(tuned):
                features = view.features(batch.images)
            loss = _loss(view.classify(features), torch.from_numpy(labels[chosen]), weights)
            _step(optimiser, loss, _schedule(step / steps, config.warmup))
            done += 1
            _follow(average, view, min(config.ema_steps, 0.1 * done + 1))
            if report is not None:
                report(done, float(loss.detach()))
        groups.append({"params": list(view.trunk.parameters()), "peak": config.trunk_rate})
    return average


def labelled_rows(table: FaceTable, split: str, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``split`` with any of the labels ``names``, and those labels float32 [n,K] (NaN: unknown)."""
    rows = table.where(split)
    labels = table.attributes[rows][:, [ATTRIBUTES.index(name) for name in names]]
    known = ~np.isnan(labels).all(1)
    return rows[known], labels[known]


def _positive_weights(labels: np.ndarray, rarest: float) -> Tensor:
    share = np.clip(np.nanmean(labels, 0), 1e-3, 1 - 1e-3)
    return torch.from_numpy(np.clip(np.sqrt((1 - share) / share), 1.0, rarest).astype(np.float32))


def _batches(count: int, steps: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    rng, order = np.random.RandomState(seed), np.zeros(0, int)
    for _ in range(steps):
        if len(order) < batch:
            order = np.concatenate([order, rng.permutation(count)])
        yield order[:batch]
        order = order[batch:]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, share: float) -> None:
    """One step with every group at ``share`` of its peak rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 5.0)
    optimiser.step()


def _loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    known = ~labels.isnan()
    error = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), pos_weight=weights, reduction="none")
    return (error * known).sum() / known.sum()


def _schedule(progress: float, warmup: float) -> float:
    """A linear warm-up, then a half cosine to 1 % of the peak."""
    if progress < warmup:
        return 0.02 + 0.98 * progress / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def _follow(average: WideView, view: WideView, half_life: float) -> None:
    kept, current = list(average.state_dict().values()), list(view.state_dict().values())
    torch._foreach_lerp_(kept, current, 1 - 0.5 ** (1 / half_life))  # pyright: ignore[reportPrivateImportUsage]


@torch.no_grad()
def wide_logits(view: WideView, table: FaceTable, rows: np.ndarray, *, batch: int = 64) -> np.ndarray:
    """Raw logits [n,K] of the crops ``rows``, which are of the view's own template."""
    parts = []
    size = view.config.size
    for start in range(0, len(rows), batch):
        images = table.images(rows[start : start + batch]).float() / 127.5 - 1
        parts.append(view(F.interpolate(images, (size, size), mode="bilinear", antialias=True)).numpy())
    return np.concatenate(parts)


def calibrate_wide_view(view: WideView, table: FaceTable) -> None:
    """Set ``slope`` and ``offset`` by Platt scaling on the validation crops."""
    rows, labels = labelled_rows(table, "valid", view.config.attributes)
    logits = wide_logits(view, table, rows)
    for index in range(labels.shape[1]):
        known = ~np.isnan(labels[:, index])
        slope, offset = platt(torch.from_numpy(logits[known, index]), torch.from_numpy(labels[known, index]))
        view.slope[index], view.offset[index] = slope, offset
