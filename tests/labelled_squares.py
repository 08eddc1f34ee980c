"""A set of labelled crops that a perception network learns in seconds, and the recipe for it."""

from __future__ import annotations

import numpy as np

from latentedit.networks.perception import ATTRIBUTES, PerceptionConfig
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.augment import AugmentConfig
from latentedit.training.perception.recipe import TrainingConfig

NETWORK = PerceptionConfig(size=16, widths=(8, 16), blocks=(1, 1), hidden=16)
CONFIG = TrainingConfig(
    images=640,
    batch=32,
    rate=5e-3,
    report_images=320,
    ema_images=64,
    precision="float32",
    network=NETWORK,
    augment=AugmentConfig(size=16, sizes=(16, 24), erase=0, noise=0),
)
SMILE, GENDER, MASK = (ATTRIBUTES.index(name) for name in ("smile", "gender", "mask"))


def faces(count: int = 240) -> FaceTable:
    """Grey squares: a bright lower half is a smile, a bright left half is male, and the data sets label them apart."""
    rng = np.random.RandomState(0)
    smile, male = rng.randint(0, 2, (2, count))
    images = rng.randint(60, 110, (count, 24, 24, 3))
    images[:, 12:] += 90 * smile[:, None, None, None]
    images[:, :, :6] += 50 * male[:, None, None, None]
    images[:, :, 18:] += 50 * male[:, None, None, None]
    dataset = np.array(["celeba10k", "utkface", "lfw"])[np.arange(count) % 3]
    attributes = np.full((count, len(ATTRIBUTES)), np.nan, np.float32)
    attributes[:, MASK] = 0
    attributes[dataset == "celeba10k", SMILE] = smile[dataset == "celeba10k"]
    attributes[dataset == "utkface", GENDER] = male[dataset == "utkface"]
    split = np.array(["train", "train", "train", "train", "valid", "held"])[np.arange(count) // 3 % 6]
    persons = np.where(dataset == "lfw", [f"{split[i]} {i // 18 % 4}" for i in range(count)], "")
    return FaceTable(
        shards={"s": images.astype(np.uint8)},
        shard=np.array(["s"] * count),
        row=np.arange(count),
        dataset=dataset,
        file=np.array([f"{i}.jpg" for i in range(count)]),
        person=persons,
        split=split,
        masked=np.zeros(count, bool),
        ethnicity=np.full(count, np.nan),
        age=np.where(dataset == "utkface", 30.0 + 20 * male, np.nan).astype(np.float32),
        attributes=attributes,
        pose=np.full((count, 3), np.nan, np.float32),
        landmarks=np.full((count, 68, 2), np.nan, np.float32),
        identity=rng.randn(count, 128).astype(np.float32),
    )
