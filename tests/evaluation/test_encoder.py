"""Figures of an encoder: what counts as face, whom the photos show, and that a perfect encoder gets perfect figures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.evaluation.encoder import choose, face_region, judge_encoder, summary
from latentedit.faces.detect import detect
from latentedit.models import Model
from latentedit.training.encoding.photos import Photos

PHOTO = Path(__file__).parents[2] / "latentedit" / "assets" / "photos" / "portrait_a.jpg"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of four crops of two persons, and one of training."""
    folder = tmp_path_factory.mktemp("prepared")
    crop = Image.open(PHOTO).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    (face, *_) = detect(crop, detector="hog")
    np.save(folder / "set-000.npy", np.stack([np.asarray(crop)] * 5))
    np.save(folder / "set-000.landmarks.npy", np.stack([face.landmarks] * 5).astype(np.float32))
    with (folder / "set-000.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "shard", "row", "file", "split", "person"])
        for row, (split, person) in enumerate(zip(["held"] * 4 + ["train"], "aabbc", strict=True)):
            writer.writerow(["set", "000", row, f"{row}.png", split, person])
    return folder


def test_splits_and_persons(prepared: Path) -> None:
    held = Photos(prepared, split="held")
    assert [row["person"] for row in held.rows] == list("aabb")
    assert len(Photos(prepared, split="train")) == 1
    for seed in range(4):
        persons = [held.rows[row]["person"] for row in choose(held, 2, seed=seed)]
        assert sorted(persons) == ["a", "b"]
    assert sorted(choose(held, 9).tolist()) == [0, 1, 2, 3]


def test_the_face_region_holds_the_features_and_not_the_corners(prepared: Path) -> None:
    (landmarks,) = Photos(prepared, split="held").landmarks([0])
    region = face_region(landmarks, 256)[0, 0]
    inner = landmarks[27:].round().astype(int)
    assert (region[inner[:, 1], inner[:, 0]] > 0.9).all()
    assert float(region[[0, 0, -1, -1], [0, -1, 0, -1]].max()) == 0
    assert 0.05 < float(region.mean()) < 0.5


class Remembers(torch.nn.Module):
    """Latents that are the photo itself, and a synthesis that paints what it is given."""

    resolution = 256

    def __init__(self, shade: float) -> None:
        super().__init__()
        self.shade = shade
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config, self.iterative = self, False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def refine(self, images: torch.Tensor, render: object) -> torch.Tensor:
        return self(images)

    @property
    def synthesis(self):
        return lambda ws, noise_mode="const": (ws + self.shade).clamp(-1, 1)


@pytest.mark.parametrize(("shade", "same"), [(0.0, 1.0), (2.0, 0.0)])
def test_a_perfect_encoder_and_a_blank_one(prepared: Path, shade: float, same: float) -> None:
    network = Remembers(shade)
    model = Model("own", network, encoder=network, fingerprint="0" * 16)  # type: ignore[arg-type]
    photos = Photos(prepared, split="held")
    figures = summary([judged.figures for judged in judge_encoder(model, photos, np.array([0, 2]))])
    assert figures["same_person"] == same
    if shade == 0:
        assert figures["mse"] == figures["lpips"] == figures["dlib"] == figures["mse_face"] == 0
    else:
        assert figures["mse"] > 0.1
        assert figures["lpips"] > 0.1
