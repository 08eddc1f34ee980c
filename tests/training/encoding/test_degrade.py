"""Degraded pictures: each change does what its name says, and the same random numbers give the same picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentedit.faces.detect import detect
from latentedit.training.encoding.degrade import CLEAN, DegradeConfig, degrade

PHOTO = Path(__file__).parents[3] / "latentedit" / "assets" / "photos" / "portrait_a.jpg"


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB").resize((128, 128), Image.Resampling.BICUBIC))


def changed(
    picture: np.ndarray, config: DegradeConfig, seed: int = 0, landmarks: np.ndarray | None = None
) -> np.ndarray:
    return degrade(picture, np.random.default_rng(seed), config, landmarks)


def sharpness(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


def test_nothing_asked_nothing_changed(picture: np.ndarray) -> None:
    assert (changed(picture, CLEAN) == picture).all()


def test_seeds_decide(picture: np.ndarray) -> None:
    assert (changed(picture, DegradeConfig(), 3) == changed(picture, DegradeConfig(), 3)).all()
    assert (changed(picture, DegradeConfig(), 3) != changed(picture, DegradeConfig(), 4)).any()


def test_blur_takes_details_and_noise_brings_some(picture: np.ndarray) -> None:
    for seed in range(4):
        assert sharpness(changed(picture, replace(CLEAN, blurred=1, smallest=0.3), seed)) < 0.98 * sharpness(picture)
    noisy = changed(picture, replace(CLEAN, noisy=1, noise=10), 1)
    assert 0.1 < np.std(noisy.astype(float) - picture) < 11


def test_an_occluder_covers_a_part_and_leaves_the_rest(picture: np.ndarray) -> None:
    for seed in range(8):
        touched = (changed(picture, replace(CLEAN, occluded=1), seed) != picture).any(axis=2).mean()
        assert 0.005 < touched < 0.6


def test_a_mask_covers_the_mouth_and_not_the_eyes(picture: np.ndarray) -> None:
    (face, *_) = detect(Image.fromarray(picture), detector="hog")
    masked = changed(picture, replace(CLEAN, masked=1), 2, face.landmarks)
    different = (masked != picture).any(axis=2)
    mouth, eye = (face.landmarks[part].mean(axis=0).round().astype(int) for part in (slice(48, 68), slice(36, 42)))
    assert different[mouth[1], mouth[0]]
    assert not different[eye[1], eye[0]]


def test_without_landmarks_there_is_no_mask(picture: np.ndarray) -> None:
    missing = np.full((68, 2), np.nan)
    assert (changed(picture, replace(CLEAN, masked=1)) == picture).all()
    assert (changed(picture, replace(CLEAN, masked=1), landmarks=missing) == picture).all()


def test_a_shaken_crop_is_the_picture_moved_a_little(picture: np.ndarray) -> None:
    moved = changed(picture, replace(CLEAN, shaken=1), 5)
    assert (moved != picture).mean() > 0.3
    small = [np.asarray(Image.fromarray(one).resize((8, 8), Image.Resampling.BOX), float) for one in (moved, picture)]
    assert np.abs(small[0] - small[1]).mean() < 12
