"""Labelled crops for the perception network, read from the folder that ``scripts/prepare_faces.py`` writes.

Legend: ``n`` crops, ``K`` attributes, ``D`` dimensions of a face recognition descriptor. Missing labels are NaN.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.networks.perception import ATTRIBUTES

_COLUMNS = {
    "beard": "no_beard",
    "smile": "smiling",
    "makeup": "heavy_makeup",
    "gender": "male",
    "stubble": "5_o_clock_shadow",
    "mouth_open": "mouth_slightly_open",
    **{name: f"wearing_{name}" for name in ("lipstick", "hat", "earrings", "necklace", "necktie")},
}
"""Columns of prepared faces, named as CelebA names them, where an attribute is called otherwise."""
_INVERTED = {"beard"}
_VALIDATION_SHARE = 25  # one in 25 training crops (or persons) tunes calibration and is not trained on


@dataclass(frozen=True)
class FaceTable:
    """Rows of labelled crops, the pictures in memory-mapped shards.

    ``split`` is "train", "valid" (taken out of train, for calibration) or "held" (never looked at before the report).
    ``pose`` is (yaw, pitch, roll) in degrees as the data set's labels give them; ``identity`` [n, D] descriptors.
    """

    shards: dict[str, np.ndarray]
    shard: np.ndarray
    row: np.ndarray
    dataset: np.ndarray
    file: np.ndarray
    person: np.ndarray
    split: np.ndarray
    masked: np.ndarray
    ethnicity: np.ndarray
    age: np.ndarray
    attributes: np.ndarray
    pose: np.ndarray
    landmarks: np.ndarray
    identity: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def images(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Crops uint8 [N,3,H,W] of the rows ``indices``."""
        crops = np.stack([self.shards[self.shard[i]][self.row[i]] for i in indices])
        return torch.from_numpy(crops).permute(0, 3, 1, 2)

    def where(self, split: str, *, dataset: str | None = None, masked: bool | None = False) -> np.ndarray:
        """Row numbers of one split, optionally of one data set; ``masked=None`` takes drawn masks too."""
        chosen = self.split == split
        if dataset is not None:
            chosen &= self.dataset == dataset
        if masked is not None:
            chosen &= self.masked == masked
        return np.flatnonzero(chosen)

    def descriptor_mean(self) -> np.ndarray:
        """Mean descriptor [D] of the training rows."""
        rows = self.identity[(self.split == "train") & ~np.isnan(self.identity[:, 0])]
        return rows.mean(0) if len(rows) else np.zeros(self.identity.shape[1], np.float32)


def _number(row: dict[str, str], column: str) -> float:
    text = row.get(column) or ""
    return float(text) if text else float("nan")


def _attributes(row: dict[str, str], masked: bool) -> list[float]:
    values = []
    for name in ATTRIBUTES:
        value = _number(row, _COLUMNS.get(name, name))
        if name == "mask" and np.isnan(value):
            value = float(masked)
        values.append(1 - value if name in _INVERTED else value)
    return values


def _split(row: dict[str, str]) -> str:
    if row["split"] != "train":
        return "held"
    key = row.get("person") or row["file"]
    return "valid" if zlib.crc32(key.encode()) % _VALIDATION_SHARE == 0 else "train"


def _read_rows(folder: Path) -> list[tuple[str, dict[str, str], bool]]:
    """(shard, row, masked) of every crop: the index and the masked variants, which inherit their source's labels."""
    paths = sorted(path for path in folder.glob("*-[0-9][0-9][0-9].csv"))
    plain = [path for path in paths if "-masked-" not in path.name]
    if not plain:
        raise LatentEditError(f"{str(folder)!r} holds no prepared faces.", "Run scripts/prepare_faces.py first.")
    rows, sources = [], {}
    for path in plain:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.append((path.stem, row, False))
                sources[path.stem, int(row["row"])] = row
    for path in paths:
        if "-masked-" in path.name:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    shard, number = masked_source(row)
                    if (shard, number) in sources:
                        own = {"row": row["row"], "source": shard, "source_row": str(number)}
                        rows.append((path.stem, sources[shard, number] | own, True))
    return rows


def masked_source(row: dict[str, str]) -> tuple[str, int]:
    """Shard name and row of the crop that a masked variant was drawn on."""
    return f"{row['dataset']}-{row['shard']}", int(row["source_row"])


def read_faces(folder: Path, *, teacher: bool = True, dimensions: int = 128) -> FaceTable:
    """Every prepared crop of ``folder`` with its labels.

    Descriptors are those that the crops themselves gave (``teacher/identity-<shard>.npy``), else those of the photos
    (``identity-<shard>.npy``); with ``teacher=False`` the other way round.

    Raises:
        LatentEditError: nothing prepared there.
    """
    rows = _read_rows(folder)
    shards = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in dict.fromkeys(r[0] for r in rows)}
    points = {name: _optional(folder / f"{name}.landmarks.npy") for name in shards}
    places = [folder / "teacher", folder] if teacher else [folder, folder / "teacher"]
    found = {name: [_optional(place / f"identity-{name}.npy") for place in places] for name in shards}
    known = {name: next((table for table in tables if table is not None), None) for name, tables in found.items()}

    def lookup(tables: dict[str, np.ndarray | None], shard: str, row: dict[str, str], empty: np.ndarray) -> np.ndarray:
        if "source" in row:
            shard, number = row["source"], int(row["source_row"])
        else:
            number = int(row["row"])
        table = tables.get(shard)
        return empty if table is None else np.asarray(table[number])

    no_points, none = np.full((68, 2), np.nan, np.float32), np.full(dimensions, np.nan, np.float32)
    pose = [[np.degrees(_number(row, f"{axis}_rad")) for axis in ("yaw", "pitch", "roll")] for _, row, _ in rows]
    return FaceTable(
        shards=shards,
        shard=np.array([name for name, _, _ in rows]),
        row=np.array([int(row["row"]) for _, row, _ in rows]),
        dataset=np.array([row["dataset"] for _, row, _ in rows]),
        file=np.array([row["file"] for _, row, _ in rows]),
        person=np.array([row.get("person") or "" for _, row, _ in rows]),
        split=np.array([_split(row) for _, row, _ in rows]),
        masked=np.array([masked for _, _, masked in rows]),
        ethnicity=np.array([_number(row, "ethnicity") for _, row, _ in rows]),
        age=np.array([_number(row, "age") for _, row, _ in rows], np.float32),
        attributes=np.array([_attributes(row, masked) for _, row, masked in rows], np.float32),
        pose=np.array(pose, np.float32),
        landmarks=np.stack([lookup(points, shard, row, no_points) for shard, row, _ in rows]).astype(np.float32),
        identity=np.stack([lookup(known, shard, row, none) for shard, row, _ in rows]).astype(np.float32),
    )


def _optional(path: Path) -> np.ndarray | None:
    return np.load(path, mmap_mode="r") if path.exists() else None


def identity_targets(table: FaceTable) -> np.ndarray:
    """Unit vectors [n, D] that the identity head imitates; NaN where no descriptor is known.

    Descriptors are centred by their mean. Where a person has several training crops, half of the target is that
    person's mean, which teaches the head what the single descriptors of one person have in common.
    """
    targets = _normalise(table.identity - table.descriptor_mean())
    train = (table.split == "train") & ~np.isnan(targets[:, 0]) & (table.person != "")
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(train):
        groups.setdefault(table.person[index], []).append(int(index))
    result = targets.copy()
    for members in groups.values():
        result[members] = _normalise(0.5 * targets[members] + 0.5 * _normalise(targets[members].mean(0)))
    return result


def _normalise(x: np.ndarray) -> np.ndarray:
    return x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-12)


@dataclass(frozen=True)
class LandmarkPose:
    """Yaw and pitch in degrees as a ridge regression on aligned landmarks, for crops without pose labels."""

    weights: np.ndarray
    error: tuple[float, float]

    @staticmethod
    def features(landmarks: np.ndarray, side: float) -> np.ndarray:
        """[n, F] of landmarks [n,68,2]: positions in the crop, and their products with the nose's offset."""
        points = (landmarks / side - 0.5).reshape(len(landmarks), -1)
        eyes = (landmarks[:, 36:42].mean(1) + landmarks[:, 42:48].mean(1)) / 2
        nose = (landmarks[:, 30] - eyes) / side
        extra = [nose**2, nose**3, nose[:, :1] * nose[:, 1:], points * nose[:, :1], points * nose[:, 1:]]
        return np.concatenate([np.ones((len(points), 1)), points, *extra], axis=1)

    @classmethod
    def fit(cls, table: FaceTable, *, side: float = 128.0, penalty: float = 0.3) -> LandmarkPose | None:
        """Fitted on training rows with pose labels, its error measured on validation rows; None without such rows."""
        known = ~np.isnan(table.pose[:, 0]) & ~np.isnan(table.landmarks[:, 0, 0]) & ~table.masked
        train, valid = known & (table.split == "train"), known & (table.split == "valid")
        if train.sum() < 500 or valid.sum() < 20:
            return None
        x, y = cls.features(table.landmarks[train], side), table.pose[train, :2]
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        error = np.abs(cls.features(table.landmarks[valid], side) @ weights - table.pose[valid, :2]).mean(0)
        return cls(weights, (float(error[0]), float(error[1])))

    def __call__(self, landmarks: np.ndarray, *, side: float = 128.0) -> np.ndarray:
        """(yaw, pitch) [n, 2] in degrees, limited to +-60."""
        return np.clip(self.features(landmarks, side) @ self.weights, -60, 60)
