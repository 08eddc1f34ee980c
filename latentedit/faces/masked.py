"""Training shards with drawn masks, beside the shards that :mod:`latentedit.faces.dataset` writes.

``<dataset>-masked-<kkk>.npy`` uint8 ``[m,R,R,3]`` holds masked variants of some crops of shard ``<dataset>-<kkk>``,
``.region.npy`` uint8 ``[m,R,R]`` how much of each pixel is mask (0-255), and ``.csv`` per variant the shard and
``source_row`` that it was drawn on, the split, and the mask's kind and drop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image

from latentedit.faces.dataset import held_out, read_csv, save_array, write_csv
from latentedit.faces.masks import MaskKind, draw_mask

COLUMNS = ("dataset", "shard", "row", "source_row", "file", "split", "kind", "drop", "seed")
_KINDS: tuple[MaskKind, ...] = ("surgical", "surgical", "surgical", "cloth", "cloth", "respirator", "respirator")


def mask_shards(
    datasets: Sequence[str], folder: Path, *, train_share: float = 0.25, jobs: int = 1
) -> Iterator[tuple[str, int]]:
    """Draw the masked variants that ``folder`` lacks: ``train_share`` of the training crops and all held-out ones.

    Yields the name and the number of crops of every shard written. Which crops get a mask, and which mask, depends only
    on the names of the photos.
    """
    tables = [path for name in datasets for path in sorted(folder.glob(f"{name}-[0-9][0-9][0-9].csv"))]
    tasks = [table for table in tables if not _target(table, ".csv").exists()]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(_mask_shard, table, train_share) for table in tasks]
        for future in as_completed(futures):
            yield future.result()


def _target(table: Path, suffix: str) -> Path:
    dataset, number = table.stem.rsplit("-", 1)
    return table.with_name(f"{dataset}-masked-{number}{suffix}")


def _mask_shard(table: Path, train_share: float) -> tuple[str, int]:
    crops = np.load(table.with_suffix(".npy"), mmap_mode="r")
    landmarks = np.load(table.with_suffix(".landmarks.npy"))
    photos, regions, rows = [], [], []
    for row in read_csv(table):
        if row["split"] == "train" and not held_out(f"mask:{row['file']}".encode(), train_share):
            continue
        source = int(row["row"])
        seed = int.from_bytes(hashlib.sha256(row["file"].encode()).digest()[:4], "big")
        kind = _KINDS[seed % len(_KINDS)]
        drawn = draw_mask(Image.fromarray(crops[source]), landmarks[source], kind=kind, under_nose=None, seed=seed)
        photos.append(np.asarray(drawn.photo))
        regions.append(np.asarray(drawn.region))
        facts = {"kind": kind, "drop": f"{drawn.style.drop:.2f}", "seed": seed, "source_row": source}
        rows.append({**{key: row[key] for key in ("dataset", "shard", "file", "split")}, "row": len(rows), **facts})
    size = crops.shape[1]
    save_array(_target(table, ".npy"), np.stack(photos) if photos else np.zeros((0, size, size, 3), np.uint8))
    save_array(_target(table, ".region.npy"), np.stack(regions) if regions else np.zeros((0, size, size), np.uint8))
    write_csv(_target(table, ".csv"), rows, COLUMNS)
    return _target(table, "").name, len(rows)
