"""dlib's 128-number face descriptors: the teacher of the identity embedding, and a second opinion in evaluations.

Two photos whose descriptors are less than 0.6 apart show the same person, by dlib's own measure on LFW.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image

from latentedit.errors import LatentEditError
from latentedit.faces.dataset import FaceSource, PrepareConfig, find_face, read_csv, save_array
from latentedit.faces.dlib_models import describe_chip, load_dlib
from latentedit.images import load_image


def describe(photo: Image.Image, landmarks: np.ndarray) -> np.ndarray:
    """The descriptor float32 ``[128]`` of the face with ``landmarks`` [68,2] in an RGB ``photo``."""
    dlib = load_dlib()
    scale = 2 if min(photo.size) < 300 else 1  # dlib takes whole pixels as landmarks: too coarse on a small photo
    if scale > 1:
        photo = photo.resize((photo.width * scale, photo.height * scale), Image.Resampling.BICUBIC)
        landmarks = (landmarks + 0.5) * scale - 0.5
    points = [dlib.point(round(x), round(y)) for x, y in landmarks]
    low, high = np.floor(landmarks.min(0)).astype(int), np.ceil(landmarks.max(0)).astype(int)
    shape = dlib.full_object_detection(dlib.rectangle(*low.tolist(), *high.tolist()), points)
    chip = dlib.get_face_chip(np.asarray(photo), shape, 150, 0.25)
    return describe_chip(chip)


def describe_shards(sources: Sequence[FaceSource], folder: Path, config: PrepareConfig, jobs: int) -> Iterator[str]:
    """Write ``identity-<shard>.npy``, float32 ``[n,128]``, beside every shard that lacks it; yields their names.

    The descriptors are those of the original photos, found anew; a row is NaN where that fails.
    """
    tasks = []
    for source in sources:
        for table in sorted(folder.glob(f"{source.name}-[0-9][0-9][0-9].csv")):
            target = folder / f"identity-{table.stem}.npy"
            if not target.exists():
                tasks.append((source, table, target, config))
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(_describe_shard, *task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()


def _describe_shard(source: FaceSource, table: Path, target: Path, config: PrepareConfig) -> str:
    rows = []
    for _, raw in source.read([row["file"] for row in read_csv(table)]):
        try:
            photo = load_image(io.BytesIO(raw))
            rows.append(describe(photo, find_face(photo, config).landmarks))
        except LatentEditError:
            rows.append(np.full(128, np.nan, np.float32))
    save_array(target, np.stack(rows) if rows else np.zeros((0, 128), np.float32))
    return target.stem
