"""Prepared crops as batches."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_discs import draw_shard

from latentedit.errors import ImageError
from latentedit.training.data.crops import FaceCrops, downscale, training_batch


def test_downscale_averages_and_refuses_other_sizes() -> None:
    crops = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert downscale(crops, 2)[0, 0, 0, 0] == np.rint(crops[0, :2, :2, 0].mean())
    with pytest.raises(ImageError, match="4 px cannot be averaged to 3 px"):
        downscale(crops, 3)


def test_masked_variants_follow_their_photos_split(tmp_path: Path) -> None:
    draw_shard(tmp_path)
    crops = np.load(tmp_path / "discs-000.npy")
    sources = [0, 1, 6, 11]  # 0 and 6 are held out
    np.save(tmp_path / "discs-masked-000.npy", 255 - crops[sources])
    with (tmp_path / "discs-masked-000.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("dataset", "shard", "row", "source_row"))
        table.writerows(("discs", "000", i, source) for i, source in enumerate(sources))
    for split, expected in (("train", [1, 11]), ("held", [0, 6])):
        faces = FaceCrops(tmp_path, 32, split=split)
        assert [int(faces.rows[i]["row"]) for i in faces.masked_of] == expected
        assert np.array_equal(faces.masked, 255 - faces.crops[faces.masked_of])


def test_batches_depend_on_seed_and_step_alone(faces: FaceCrops) -> None:
    assert len(faces) == 40
    one = training_batch(faces, 8, seed=1, step=5)
    assert torch.equal(one, training_batch(faces, 8, seed=1, step=5))
    assert not torch.equal(one, training_batch(faces, 8, seed=1, step=6))
    assert one.min() >= -1
    assert one.max() <= 1
