"""What a perception network loses on bad pictures, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from latentedit.networks.perception import ATTRIBUTES, PerceptionNetwork
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.augment import compress


def robustness(network: PerceptionNetwork, table: FaceTable, *, most: int = 1500) -> dict[str, dict[str, float]]:
    """Age MAE, and accuracy of smile and gender expression, with the held-out crops made worse in known ways."""

    def shrink(x: torch.Tensor, size: int) -> torch.Tensor:
        return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)

    rows = np.random.RandomState(0).permutation(table.where("held"))
    rows = rows[np.isin(table.dataset[rows], ("utkface", "celeba10k"))][:most]
    ways = {
        "as they are": lambda x: x,
        "64 px": lambda x: shrink(x, 64),
        "32 px": lambda x: shrink(x, 32),
        "compressed": lambda x: compress(x, torch.full([len(x)], 0.12)),
        "grey": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
        "dark": lambda x: x * 0.5 - 0.4,
        "noise": lambda x: x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    }
    return {name: _spoilt(network, table, rows, spoil) for name, spoil in ways.items()}


@torch.no_grad()
def _spoilt(
    network: PerceptionNetwork, table: FaceTable, rows: np.ndarray, spoil: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, float]:
    age, smile, male = [], [], []
    for start in range(0, len(rows), 128):
        seen = network.perceive(spoil(table.images(rows[start : start + 128]).float() / 127.5 - 1).clamp(-1, 1))
        age.append(seen.age.numpy())
        smile.append(seen["smile"].numpy())
        male.append(seen["gender"].numpy())
    labels = {name: table.attributes[rows, ATTRIBUTES.index(name)] for name in ("smile", "gender")}
    result = {"age_mae": float(np.nanmean(np.abs(np.concatenate(age) - table.age[rows])))}
    for name, said in (("smile", np.concatenate(smile)), ("gender", np.concatenate(male))):
        known = ~np.isnan(labels[name])
        result[name] = float(((said[known] > 0.5) == (labels[name][known] > 0.5)).mean())
    return result


@torch.no_grad()
def speed_figures(network: PerceptionNetwork, *, batch: int = 32) -> dict[str, float]:
    """Milliseconds of one core per face of 128 px, the fastest of ten batches (processor time, so that a busy machine
    measures the same)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = torch.rand(batch, 3, 128, 128) * 2 - 1
        network.perceive(images)
        times = []
        for _ in range(10):
            start = time.process_time()
            network.perceive(images)
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {"batch": batch, "ms_per_face": 1000 * min(times) / batch}
