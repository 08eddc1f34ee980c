"""Photos for an encoder: the shards of ``scripts/prepare_faces.py``, read from the disk as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentedit.errors import ImageError
from latentedit.faces.dataset import read_csv


class Photos:
    """Crops of one ``split`` ("train" or "held") of prepared shards, with their landmarks and index rows.

    ``datasets`` are names to use, None for all. Persons (or files) are in one split only.
    """

    def __init__(self, folder: str | Path, *, split: str = "train", datasets: Sequence[str] | None = None) -> None:
        self.folder = Path(folder)
        self.rows: list[dict[str, str]] = []
        self._shards: list[tuple[np.ndarray, np.ndarray]] = []
        self._places: list[tuple[int, int]] = []
        for table in sorted(self.folder.glob("*-[0-9][0-9][0-9].csv")):
            name = table.stem.rsplit("-", 1)[0]
            if name.endswith("-masked") or (datasets is not None and name not in datasets):
                continue
            pictures = np.load(table.with_suffix(".npy"), mmap_mode="r")
            self._shards.append((pictures, np.load(table.with_suffix(".landmarks.npy"))))
            kept = [row for row in read_csv(table) if row["split"] == split]
            self.rows += kept
            self._places += [(len(self._shards) - 1, int(row["row"])) for row in kept]
        if not self.rows:
            raise ImageError(f"{str(folder)!r} holds no prepared crops.", "Run scripts/prepare_faces.py first.")

    def __len__(self) -> int:
        return len(self.rows)

    def pictures(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n,R,R,3]."""
        places = [self._places[int(row)] for row in rows]
        return np.stack([self._shards[shard][0][index] for shard, index in places])

    def landmarks(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """float [n,68,2] in pixels of the crops."""
        places = [self._places[int(row)] for row in rows]
        return np.stack([self._shards[shard][1][index] for shard, index in places])
