"""Aligned face data for training: photos of a folder or zip become shards of crops with landmarks and labels.

A shard ``<dataset>-<kkk>`` is ``.npy`` uint8 ``[n,R,R,3]`` (n <= 1000), ``.landmarks.npy`` float32 ``[n,68,2]`` in
pixel indices of the crops, ``.csv`` with one row per crop, and ``.dropped.csv`` with the photos left out and why.
Photos are dealt to shards in the order of a hash of their names: every shard is a fair sample of its data set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentedit.errors import FaceError, ImageError
from latentedit.faces.align import align
from latentedit.faces.detect import DetectedFace, DetectorName, detect, guess_face
from latentedit.faces.template import CropTemplate, overshoot
from latentedit.files import atomic_path
from latentedit.images import load_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
TIGHT = CropTemplate(scale=0.55, shift=0.2)
"""The template of the embedded model: hairline to chin, which photos cropped as tightly as UTKFace's still fill."""

FIXED_COLUMNS = ("dataset", "shard", "row", "file", "split", "score", "overshoot")


@dataclass(frozen=True)
class PrepareConfig:
    """How photos become crops.

    ``max_overshoot``: photos whose quad leaves the frame by a larger share of its side are dropped.
    ``held_share``: share of the persons (where the labels name them) or of the files that no training sees.
    ``detector``: as in :func:`latentedit.faces.detect.detect`. ``guess``: where it sees nothing, take the best guess;
    for photos known to show a face. The index tells guesses by a score below 0.
    """

    template: CropTemplate = TIGHT
    size: int = 128
    shard_size: int = 1000
    max_overshoot: float = 0.1
    held_share: float = 0.08
    detector: DetectorName = "hog"
    guess: bool = False


@dataclass(frozen=True)
class FaceSource:
    """Photos and labels of one data set: a folder or a zip with an optional ``labels.csv`` (column ``file``)."""

    path: Path

    @property
    def name(self) -> str:
        """The data set's name: the stem of its path."""
        return self.path.stem

    def files(self) -> list[str]:
        """Names of the photos inside, in the order of a hash of the name."""
        if self.path.is_dir():
            names = [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()]
        elif zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        else:
            raise ImageError(f"{str(self.path)!r} is neither a folder nor a zip.", "Name a folder or zip of photos.")
        photos = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        return sorted(photos, key=lambda name: hashlib.sha256(name.encode()).digest())

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of the named files."""
        if self.path.is_dir():
            for name in names:
                yield name, (self.path / name).read_bytes()
            return
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                yield name, archive.read(name)

    def labels(self) -> dict[str, dict[str, str]]:
        """Labels by file name; empty when there is no ``labels.csv``."""
        try:
            ((_, raw),) = self.read(["labels.csv"])
        except (KeyError, FileNotFoundError):
            return {}
        rows = csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))
        return {row.pop("file"): row for row in rows}


def held_out(key: bytes, share: float) -> bool:
    """Whether the person or file ``key`` belongs to the held-out ``share``; depends on nothing else."""
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") < share * 2**64


def prepare(
    sources: Sequence[FaceSource],
    folder: Path,
    config: PrepareConfig,
    *,
    overrides: dict[str, dict[str, Any]],
    jobs: int,
) -> Iterator[tuple[str, int, int, Counter[str]]]:
    """Write every missing shard of ``sources`` into ``folder`` and yield (shard, done, of, reasons) after each.

    ``overrides`` changes fields of ``config`` by data set. Shards that exist are kept, so that an interrupted run goes
    on where it stopped. ``index.csv``, the table of all crops, is written anew after every shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = []
    for source in sources:
        own = replace(config, **overrides.get(source.name, {}))
        names = source.files()
        chunks = [names[i : i + own.shard_size] for i in range(0, len(names), own.shard_size)]
        tasks += [(source, number, chunk, folder, own) for number, chunk in enumerate(chunks)]
    missing = [task for task in tasks if not (folder / f"{task[0].name}-{task[1]:03d}.csv").exists()]
    done = len(tasks) - len(missing)
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(write_shard, *task) for task in missing]
        for future in as_completed(futures):
            shard, reasons = future.result()
            done += 1
            write_index(folder)
            yield shard, done, len(tasks), reasons
    write_index(folder)


def write_shard(
    source: FaceSource, number: int, names: Sequence[str], folder: Path, config: PrepareConfig
) -> tuple[str, Counter[str]]:
    """Align the photos ``names`` and write them as one shard; returns its name and the reasons counted."""
    shard, labels = f"{source.name}-{number:03d}", source.labels()
    crops, points, rows, dropped = [], [], [], []
    for name, raw in source.read(names):
        own = labels.get(name, {})
        try:
            crop, landmarks, facts = prepare_photo(raw, config)
        except (ImageError, FaceError) as error:
            dropped.append({"file": name, "reason": error.problem.rstrip(".")})
            continue
        person = own.get("person")
        key = f"person:{person}".encode() if person else raw
        fixed = {"dataset": source.name, "shard": f"{number:03d}", "row": len(rows), "file": name}
        split = "held" if held_out(key, config.held_share) else "train"
        rows.append({**fixed, "split": split, **facts, **own})
        crops.append(crop)
        points.append(landmarks)
    shape = (0, config.size, config.size, 3)
    save_array(folder / f"{shard}.npy", np.stack(crops) if crops else np.zeros(shape, np.uint8))
    save_array(folder / f"{shard}.landmarks.npy", np.stack(points) if points else np.zeros((0, 68, 2), np.float32))
    write_csv(folder / f"{shard}.dropped.csv", dropped, ("file", "reason"))
    write_csv(folder / f"{shard}.csv", rows, FIXED_COLUMNS)  # last: its presence says that the shard is complete
    return shard, Counter({"kept": len(rows)}) + Counter(row["reason"] for row in dropped)


def prepare_photo(raw: bytes, config: PrepareConfig) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """One photo's bytes to its crop uint8 ``[R,R,3]``, landmarks float32 ``[68,2]`` in the crop, and facts of the cut.

    Raises:
        ImageError: the photo cannot be read.
        FaceError: no face, or a face too near to the frame; the text without numbers, so that reasons can be counted.
    """
    photo = load_image(io.BytesIO(raw))
    face = find_face(photo, config)
    quad = config.template.quad(face.landmarks)
    outside = overshoot(quad, photo.size)
    if outside > config.max_overshoot:
        raise FaceError("The crop leaves the photo.")
    aligned = align(photo, face.landmarks, config.template, config.size)
    facts = {"score": f"{face.score:.3f}", "overshoot": f"{outside:.4f}"}
    return np.asarray(aligned.crop), aligned.crop_landmarks().astype(np.float32), facts


def find_face(photo: Image.Image, config: PrepareConfig) -> DetectedFace:
    """The face nearest to the middle of ``photo``: data sets centre the person whom they label.

    Raises:
        FaceError: none found.
    """
    scales = (1.0, 2.0) if min(photo.size) >= 140 else (2.0, 3.0)
    faces = detect(photo, detector=config.detector, scales=scales)
    if not faces and config.guess:
        guess = guess_face(photo)
        faces = [] if guess is None else [guess]
    if not faces:
        raise FaceError("No face found.")
    return min(faces, key=lambda found: _off_centre(found, photo.size))


def _off_centre(face: DetectedFace, size: tuple[int, int]) -> float:
    """Distance of the face from the middle of the photo in lengths of the face."""
    middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
    return float(np.hypot(*(middle - np.array(size) / 2)) / np.sqrt(face.area))


def write_index(folder: Path) -> int:
    """Join the shards' tables into ``index.csv``, all label columns of all data sets; returns the number of rows."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*-[0-9][0-9][0-9].csv")):
        if "-masked-" not in path.name:
            rows += read_csv(path)
    write_csv(folder / "index.csv", rows, FIXED_COLUMNS)
    return len(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table with a header line."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: Sequence[dict[str, Any]], first: Sequence[str]) -> None:
    """Write a table whose columns are ``first`` and then whatever else the rows have; missing values stay empty."""
    extra = dict.fromkeys(key for row in rows for key in row if key not in first)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*first, *extra], restval="", lineterminator=os.linesep)
        writer.writeheader()
        writer.writerows(rows)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``, whole or not at all."""
    with atomic_path(path) as temporary:
        np.save(temporary, array)
