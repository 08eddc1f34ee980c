"""Reading prepared faces: labels, splits, masked variants, identity targets, pose from landmarks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from latentedit.errors import LatentEditError
from latentedit.networks.perception import ATTRIBUTES
from latentedit.training.data.labels import FaceTable, LandmarkPose, identity_targets, read_faces


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_shard(folder: Path, name: str, rows: list[dict[str, object]], *, side: int = 8, first: int = 0) -> None:
    dataset, number = name.rsplit("-", 1)
    fixed = [{"dataset": dataset, "shard": number, "row": i, "split": "train", **row} for i, row in enumerate(rows)]
    write_csv(folder / f"{name}.csv", fixed)
    images = np.stack([np.full((side, side, 3), (first + i) % 256, np.uint8) for i in range(len(rows))])
    np.save(folder / f"{name}.npy", images)
    np.save(folder / f"{name}.landmarks.npy", np.random.RandomState(first).rand(len(rows), 68, 2).astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shard(tmp_path, "celeba10k-000", [
        {"file": "a.jpg", "smiling": 1, "heavy_makeup": 0, "no_beard": 1, "5_o_clock_shadow": 1, "male": 0},
        {"file": "b.jpg", "smiling": 0, "heavy_makeup": 1, "no_beard": 0, "5_o_clock_shadow": 0, "male": 1},
    ])  # fmt: skip
    write_shard(tmp_path, "genki4k-003", [
        {"file": "g.jpg", "smiling": 1, "yaw_rad": np.pi / 6, "pitch_rad": -np.pi / 18, "roll_rad": 0.1},
        {"file": "h.jpg", "smiling": 0, "yaw_rad": 0, "pitch_rad": 0, "roll_rad": 0, "split": "held"},
    ], first=50)  # fmt: skip
    write_shard(tmp_path, "utkface-000", [{"file": "u.webp", "age": 31, "male": 1, "ethnicity": 2}], first=100)
    write_shard(tmp_path, "facemask-000", [{"file": "m.jpg", "mask": 1, "split": "held"}], first=120)
    write_shard(tmp_path, "genki4k-masked-003", [{"source_row": 1}], first=200)
    rows = [{"dataset": "genki4k", "shard": "003", "row": 0, "source_row": 1}]
    write_csv(tmp_path / "genki4k-masked-003.csv", rows)
    np.save(tmp_path / "identity-genki4k-003.npy", np.arange(256, dtype=np.float32).reshape(2, 128))
    return tmp_path


def column(table: FaceTable, name: str) -> dict[str, float]:
    values = table.attributes[:, ATTRIBUTES.index(name)]
    return {
        f"{'masked ' if m else ''}{file}": float(v) for m, file, v in zip(table.masked, table.file, values, strict=True)
    }


def test_labels_carry_canonical_names_and_are_nan_where_missing(folder: Path) -> None:
    table = read_faces(folder)
    assert column(table, "smile")["a.jpg"] == 1
    assert column(table, "smile")["h.jpg"] == 0
    assert np.isnan(column(table, "smile")["u.webp"])
    assert column(table, "makeup")["b.jpg"] == 1
    assert column(table, "stubble")["a.jpg"] == 1
    assert column(table, "beard")["a.jpg"] == 0, "beard is the opposite of CelebA's no_beard"
    assert column(table, "beard")["b.jpg"] == 1
    assert column(table, "gender") | {"u.webp": 0} == pytest.approx(
        {
            "a.jpg": 0,
            "b.jpg": 1,
            "g.jpg": np.nan,
            "h.jpg": np.nan,
            "masked h.jpg": np.nan,
            "m.jpg": np.nan,
            "u.webp": 0,
        },
        nan_ok=True,
    )
    by_file = dict(zip(table.file, zip(table.age, table.ethnicity, strict=True), strict=True))
    assert by_file["u.webp"] == (31, 2)
    assert np.isnan(by_file["a.jpg"]).all()
    np.testing.assert_allclose(table.pose[list(table.file).index("g.jpg")], [30, -10, np.degrees(0.1)], rtol=1e-5)


def test_mask_is_labelled_or_follows_from_the_drawing(folder: Path) -> None:
    masks = column(read_faces(folder), "mask")
    assert masks["m.jpg"] == 1
    assert masks["masked h.jpg"] == 1
    assert all(masks[name] == 0 for name in ("a.jpg", "g.jpg", "h.jpg", "u.webp"))


def test_masked_variants_inherit_from_their_source_but_have_their_own_pixels(folder: Path) -> None:
    table = read_faces(folder)
    masked, plain = (np.flatnonzero((table.file == "h.jpg") & (table.masked == m))[0] for m in (True, False))
    assert table.split[masked] == "held"
    np.testing.assert_array_equal(table.landmarks[masked], table.landmarks[plain])
    np.testing.assert_array_equal(table.identity[masked], np.arange(128, 256))
    np.testing.assert_array_equal(table.identity[plain], np.arange(128, 256))
    assert table.images([masked]).unique().tolist() == [200]
    assert table.images([plain]).unique().tolist() == [51]
    assert table.images([plain, masked]).shape == (2, 3, 8, 8)


def test_selection_by_split_set_and_mask(folder: Path) -> None:
    table = read_faces(folder)
    assert set(table.file[table.where("held")]) == {"h.jpg", "m.jpg"}
    assert table.file[table.where("held", dataset="genki4k", masked=True)].tolist() == ["h.jpg"]
    assert len(table.where("held", masked=None)) == 3


def test_a_person_is_never_in_two_splits(tmp_path: Path) -> None:
    persons = [f"person {i // 3}" for i in range(600)]
    write_shard(tmp_path, "lfw-000", [{"file": f"{i}.webp", "person": p} for i, p in enumerate(persons)], side=1)
    table = read_faces(tmp_path)
    assert {len(set(table.split[table.person == p])) for p in set(persons)} == {1}
    assert 0.01 < (table.split == "valid").mean() < 0.09


def test_identity_targets_are_centred_units_drawn_to_the_person(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    persons = ["x", "x", "y", "", ""]
    write_shard(tmp_path, "lfw-000", [{"file": f"t{i}", "person": p} for i, p in enumerate(persons)], side=1)
    descriptors = rng.randn(5, 128).astype(np.float32) + 3
    np.save(tmp_path / "identity-lfw-000.npy", descriptors)
    table = read_faces(tmp_path)
    if not (table.split == "train").all():
        pytest.fail("choose other names: the split is decided by their hash")
    targets = identity_targets(table)
    centred = descriptors - descriptors.mean(0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(targets[2:], units[2:], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, atol=1e-5)
    assert targets[0] @ targets[1] > units[0] @ units[1] + 0.3


def test_pose_is_regressed_from_landmarks_of_labelled_crops(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    face = np.stack([rng.uniform(20, 108, 68), rng.uniform(20, 108, 68), rng.uniform(-30, 30, 68)], 1)
    yaw, pitch = rng.uniform(-0.6, 0.6, (2, 1200))
    points = face[:, :2] + yaw[:, None, None] * face[:, 2:] * [1, 0] + pitch[:, None, None] * face[:, 2:] * [0, -1]
    rows = [
        {"file": f"{i}.jpg", "yaw_rad": y, "pitch_rad": p, "roll_rad": 0}
        for i, (y, p) in enumerate(zip(yaw, pitch, strict=True))
    ]
    write_shard(tmp_path, "genki4k-000", rows, side=1)
    np.save(tmp_path / "genki4k-000.landmarks.npy", points.astype(np.float32))
    pose = LandmarkPose.fit(read_faces(tmp_path))
    assert pose is not None
    assert max(pose.error) < 0.5
    np.testing.assert_allclose(pose(points[:5]), np.degrees([yaw[:5], pitch[:5]]).T, atol=1.5)
    assert LandmarkPose.fit(read_faces_without_pose(tmp_path)) is None


def read_faces_without_pose(folder: Path) -> FaceTable:
    write_shard(folder, "genki4k-000", [{"file": "a"}], side=1)
    return read_faces(folder)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match=r"holds no prepared faces\. Run scripts/prepare_faces\.py first\."):
        read_faces(tmp_path)
