"""Prepared face crops as batches of tensors (the files that ``scripts/prepare_faces.py`` writes)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import ImageError


def downscale(crops: np.ndarray, size: int) -> np.ndarray:
    """Average uint8 crops [n,H,H,3] down to [n,size,size,3]; H must be a multiple of ``size``."""
    n, height = crops.shape[:2]
    factor = height // size
    if factor * size != height:
        raise ImageError(f"Crops of {height} px cannot be averaged to {size} px.", "Choose a divisor.")
    if factor == 1:
        return np.ascontiguousarray(crops)
    blocks = crops.reshape(n, size, factor, size, factor, 3).astype(np.float32)
    return np.clip(np.rint(blocks.mean(axis=(2, 4))), 0, 255).astype(np.uint8)


class FaceCrops:
    """Crops of one split, held in memory as uint8 [n,R,R,3], with their index rows and masked variants.

    Args:
        folder: output of ``scripts/prepare_faces.py``.
        size: side of the crops in pixels.
        split: ``"train"`` or ``"held"``.
        datasets: names to use; None for all but ``exclude``.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int,
        *,
        split: str = "train",
        datasets: Sequence[str] | None = None,
        exclude: Sequence[str] = ("facemask",),
    ) -> None:
        self.folder = Path(folder)
        self.size = size
        self.split = split
        wanted = [
            path
            for path in sorted(self.folder.glob("*-[0-9][0-9][0-9].csv"))
            if "-masked-" not in path.name and self._wants(path.name.rsplit("-", 1)[0], datasets, exclude)
        ]
        if not wanted:
            raise ImageError(f"{str(folder)!r} holds no prepared crops.", "Run scripts/prepare_faces.py first.")
        self.rows: list[dict[str, str]] = []
        parts, masked, owners = [], [], []
        for path in wanted:
            rows = _read_rows(path)
            keep = [i for i, row in enumerate(rows) if row["split"] == split]
            offset = len(self.rows)
            place = {index: offset + position for position, index in enumerate(keep)}
            parts.append(downscale(np.load(path.with_suffix(".npy"), mmap_mode="r")[keep], size))
            self.rows += [rows[i] for i in keep]
            dataset, shard = path.stem.rsplit("-", 1)
            variants = self.folder / f"{dataset}-masked-{shard}.npy"
            if variants.exists():
                sources = [int(row["source_row"]) for row in _read_rows(variants.with_suffix(".csv"))]
                chosen = [i for i, source in enumerate(sources) if source in place]
                masked.append(downscale(np.load(variants, mmap_mode="r")[chosen], size))
                owners += [place[sources[i]] for i in chosen]
        self.crops = np.concatenate(parts)
        self.masked = np.concatenate(masked) if masked else np.zeros((0, size, size, 3), np.uint8)
        self.masked_of = np.array(owners, dtype=np.int64)
        """Index into `crops` of the unmasked photo behind each masked variant."""

    @staticmethod
    def _wants(dataset: str, datasets: Sequence[str] | None, exclude: Sequence[str]) -> bool:
        return dataset not in exclude if datasets is None else dataset in datasets

    def __len__(self) -> int:
        return len(self.crops)

    def landmarks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Landmarks float [n,68,2] in pixel indices of the crops at this size."""
        found = []
        for index in np.asarray(indices):
            row = self.rows[int(index)]
            shard = self.folder / f"{row['dataset']}-{row['shard']}"
            side = np.load(shard.with_suffix(".npy"), mmap_mode="r").shape[1]
            points = np.load(shard.with_suffix(".landmarks.npy"), mmap_mode="r")[int(row["row"])]
            found.append((points + 0.5) * self.size / side - 0.5)
        return np.stack(found) if found else np.zeros((0, 68, 2))

    def tensor(self, indices: Sequence[int] | np.ndarray, *, masked: bool = False) -> Tensor:
        """Crops [n,3,R,R] in [-1,1], channels-last; ``masked`` takes them from the masked variants."""
        crops = (self.masked if masked else self.crops)[np.asarray(indices)]
        return to_signed(crops)


def to_signed(crops: np.ndarray) -> Tensor:
    """uint8 [n,R,R,3] -> float32 [n,3,R,R] in [-1,1], channels-last in memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def batches(
    faces: FaceCrops, batch_size: int, *, seed: int, start: int = 0, masked_share: float = 0.0, flip: bool = True
) -> Iterator[Tensor]:
    """Endless training batches [batch_size,3,R,R]; batch ``k`` depends on ``seed`` and ``k`` alone.

    Starting at ``start`` continues an interrupted run with the batches it would have seen. ``masked_share`` of the
    rows come from the masked variants where there are any.
    """
    step = start
    while True:
        yield training_batch(faces, batch_size, seed=seed, step=step, masked_share=masked_share, flip=flip)
        step += 1


def training_batch(
    faces: FaceCrops, batch_size: int, *, seed: int, step: int, masked_share: float = 0.0, flip: bool = True
) -> Tensor:
    """Batch number ``step`` of a run with ``seed``; see `batches`."""
    random = np.random.default_rng([seed, step])
    count = int(random.binomial(batch_size, masked_share)) if len(faces.masked) else 0
    images = faces.tensor(random.integers(len(faces), size=batch_size - count))
    if count:
        images = torch.cat([images, faces.tensor(random.integers(len(faces.masked), size=count), masked=True)])
    if flip:
        mirrored = torch.from_numpy(random.random(batch_size) < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images.contiguous(memory_format=torch.channels_last)


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
