"""Shards of crops from a folder and a zip of small photos made of the shipped portraits."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentedit.errors import FaceError, ImageError
from latentedit.faces.dataset import (
    TIGHT,
    FaceSource,
    PrepareConfig,
    held_out,
    prepare,
    prepare_photo,
    read_csv,
    write_shard,
)
from latentedit.faces.descriptors import describe, describe_shards
from latentedit.faces.detect import DetectedFace
from latentedit.faces.masked import mask_shards

CONFIG = PrepareConfig(size=32, shard_size=3)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> Path:
    folder = tmp_path_factory.mktemp("people")
    labels = []
    for name, person in (("astronaut.png", "E"), ("portrait_a.jpg", "B"), ("portrait_b.jpg", "J")):
        x, y = faces[name][0].landmarks[27:36].mean(0)
        half = 1.1 * (faces[name][0].box[2] - faces[name][0].box[0])
        close = photos[name].crop((int(x - half), int(y - half), int(x + half), int(y + half)))
        close.resize((180, 180), Image.Resampling.LANCZOS).save(folder / f"{person}.png")
        labels.append((f"{person}.png", person, len(labels)))
        if person == "B":
            close.crop((40, 40, int(2 * half) - 40, int(2 * half) - 40)).resize((180, 180)).save(folder / "B2.png")
            labels.append(("B2.png", "B", ""))
    Image.new("RGB", (180, 180), "teal").save(folder / "wall.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "person", "age"), *labels])
    return folder


def run(source: Path, out: Path, config: PrepareConfig = CONFIG) -> Counter[str]:
    totals: Counter[str] = Counter()
    for _, _, _, reasons in prepare([FaceSource(source)], out, config, overrides={}, jobs=1):
        totals += reasons
    return totals


@pytest.fixture(scope="module")
def prepared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    reasons = run(folder, out)
    assert reasons["kept"] in (3, 4)  # the closest crop of B may leave its photo
    assert reasons["No face found"] == 1
    assert sum(reasons.values()) == 6
    return out


def test_index_joins_labels_and_points_at_rows(folder: Path, prepared: Path) -> None:
    name = folder.name
    rows = read_csv(prepared / "index.csv")
    by_file = {row["file"]: row for row in rows}
    assert by_file["J.png"]["person"] == "J"
    assert (by_file["J.png"]["age"], by_file["E.png"]["age"]) == ("3", "0")
    for row in rows:
        crops = np.load(prepared / f"{name}-{row['shard']}.npy")
        points = np.load(prepared / f"{name}-{row['shard']}.landmarks.npy")
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (32, 32, 3)
        crop, landmarks, _ = prepare_photo((folder / row["file"]).read_bytes(), CONFIG)
        np.testing.assert_array_equal(crops[int(row["row"])], crop)
        np.testing.assert_array_equal(points[int(row["row"])], landmarks)
        eyes = landmarks[36:48].mean(0)
        assert abs(eyes[0] - 15.5) < 4
        assert 5 < eyes[1] < 16


def test_dropped_photos_are_listed_with_reasons(folder: Path, prepared: Path) -> None:
    dropped = {r["file"]: r["reason"] for p in prepared.glob("*.dropped.csv") for r in read_csv(p)}
    assert dropped["wall.png"] == "No face found"
    assert "not an image" in dropped["broken.jpg"]


def test_split_is_by_person(prepared: Path) -> None:
    splits: dict[str, set[str]] = {}
    for row in read_csv(prepared / "index.csv"):
        splits.setdefault(row["person"], set()).add(row["split"])
    assert all(len(split) == 1 for split in splits.values())


def test_held_share_depends_on_nothing_but_the_key() -> None:
    keys = [f"person:{i}".encode() for i in range(4000)]
    held = [key for key in keys if held_out(key, 0.25)]
    assert abs(len(held) / 4000 - 0.25) < 0.02
    assert all(held_out(key, 0.5) for key in held)  # a larger share holds out the same and more
    assert not any(held_out(key, 0.0) for key in keys)
    assert all(held_out(key, 1.0) for key in keys)


def test_second_run_redoes_only_what_is_missing(folder: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out)
    index = (out / "index.csv").read_bytes()
    shards = sorted(out.glob("*-[0-9][0-9][0-9].npy"))
    stamps = [path.stat().st_mtime_ns for path in shards]
    first = shards[0]
    first.with_suffix(".csv").unlink()  # as if interrupted before the shard was complete
    assert sum(run(folder, out).values()) == CONFIG.shard_size
    assert [path.stat().st_mtime_ns for path in shards[1:]] == stamps[1:]
    assert (out / "index.csv").read_bytes() == index
    assert index == (prepared / "index.csv").read_bytes()


def test_zip_gives_what_its_folder_gives(folder: Path, prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{folder.name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    assert FaceSource(path).files() == FaceSource(folder).files()
    assert FaceSource(path).labels() == FaceSource(folder).labels()
    names = FaceSource(path).files()[:3]
    write_shard(FaceSource(path), 0, names, tmp_path, CONFIG)
    np.testing.assert_array_equal(
        np.load(tmp_path / f"{folder.name}-000.npy"), np.load(prepared / f"{folder.name}-000.npy")
    )


def test_photo_too_close_is_dropped(folder: Path) -> None:
    raw = (folder / "B2.png").read_bytes()
    with pytest.raises(FaceError, match="The crop leaves the photo"):
        prepare_photo(raw, PrepareConfig(template=TIGHT, size=32, max_overshoot=-1.0))


def test_source_that_is_neither_folder_nor_zip(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ImageError, match="neither a folder nor a zip"):
        FaceSource(tmp_path / "a.txt").files()


def test_masked_variants_name_their_source(folder: Path, prepared: Path) -> None:
    name = folder.name
    written = dict(mask_shards([name], prepared, train_share=1.0))
    rows = [row for path in sorted(prepared.glob(f"{name}-masked-*.csv")) for row in read_csv(path)]
    assert sum(written.values()) == len(rows) == len(read_csv(prepared / "index.csv"))
    for row in rows:
        masked = np.load(prepared / f"{name}-masked-{row['shard']}.npy")[int(row["row"])].astype(int)
        region = np.load(prepared / f"{name}-masked-{row['shard']}.region.npy")[int(row["row"])]
        source = np.load(prepared / f"{name}-{row['shard']}.npy")[int(row["source_row"])]
        changed = np.abs(masked - source).max(-1)
        assert (region > 127).mean() > 0.08
        assert changed[:6].max() == 0  # the forehead
        assert changed[region > 200].mean() > 5
    assert dict(mask_shards([name], prepared, train_share=1.0)) == {}
    assert "masked" not in (prepared / "index.csv").read_text()


def test_descriptors_tell_persons_apart(
    folder: Path, prepared: Path, photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    list(describe_shards([FaceSource(folder)], prepared, CONFIG, jobs=1))
    rows = read_csv(prepared / "index.csv")
    values = {
        row["file"]: np.load(prepared / f"identity-{folder.name}-{row['shard']}.npy")[int(row["row"])] for row in rows
    }
    assert all(value.shape == (128,) and np.isfinite(value).all() for value in values.values())

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    # the persons of two_people.jpg are those of the portraits: 0.6 is dlib's threshold
    photo, found = photos["two_people.jpg"], faces["two_people.jpg"]
    several = [describe(photo, face.landmarks) for face in found[:2]]
    assert min(apart(values["B.png"], one) for one in several) < 0.6
    assert min(apart(values["J.png"], one) for one in several) < 0.6
    assert apart(values["B.png"], values["J.png"]) > 0.6
    assert apart(values["B.png"], values["E.png"]) > 0.6
