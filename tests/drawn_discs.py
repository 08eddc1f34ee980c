"""Crops to train on: pictures of two-coloured discs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def draw_shard(folder: Path, count: int = 48, size: int = 32) -> None:
    """Pictures of two-coloured discs as a shard in the format of scripts/prepare_faces.py, a sixth of them held out."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size - 0.5
    inside = [(x - a) ** 2 + (y - b) ** 2 < 0.1 for a, b in random.uniform(-0.2, 0.2, (count, 2))]
    colours = random.integers(0, 255, (count, 2, 3))
    crops = np.stack([np.where(m[..., None], c[0], c[1]) for m, c in zip(inside, colours, strict=True)])
    np.save(folder / "discs-000.npy", crops.astype(np.uint8))
    with (folder / "discs-000.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ("dataset", "shard", "row", "file", "split"))
        table.writeheader()
        for i in range(count):
            split = "held" if i % 6 == 0 else "train"
            table.writerow({"dataset": "discs", "shard": "000", "row": i, "file": f"{i}.png", "split": split})
