"""Figures of an encoder on held-out photos: likeness by dlib, LPIPS and squared error at 256 px, time.

Legend: ``N`` photos, ``R`` side of the crops; images are [N,3,R,R] in [-1,1].
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from latentedit.evaluation.edits import SAME_PERSON, dlib_distances
from latentedit.images import resize
from latentedit.inversion.methods.encoder import encode
from latentedit.models import Model
from latentedit.networks.lpips import PerceptualDistance, load_perceptual
from latentedit.training.encoding.photos import Photos
from latentedit.training.encoding.trainer import to_signed
from latentedit.training.face_teacher import DlibFaceNetwork

SIDE = 256


@dataclass(frozen=True)
class Judged:
    """A photo, what the encoder makes of it (both [1,3,256,256]), and the figures by name."""

    photo: Tensor
    found: Tensor
    figures: dict[str, float]


def choose(photos: Photos, count: int, *, seed: int = 0) -> np.ndarray:
    """Rows of ``count`` photos, each of another person while there are enough."""
    order = np.random.default_rng(seed).permutation(len(photos))
    persons = [photos.rows[i].get("person") or photos.rows[i]["file"] for i in order]
    _, first = np.unique(persons, return_index=True)
    kept = order[np.sort(first)]
    rest = np.setdiff1d(order, kept, assume_unique=True)
    return np.concatenate([kept, rest])[:count]


def face_region(landmarks: np.ndarray, side: int) -> Tensor:
    """How much each pixel belongs to the face [1,1,side,side]: the hull of ``landmarks`` [68,2] (pixels of a crop of
    ``side``), drawn up to the hairline, with a soft border."""
    brows, chin = landmarks[17:27].mean(axis=0), landmarks[8]
    lifted = landmarks[17:27] + 0.45 * (brows - chin)
    outline = np.concatenate([landmarks[:17], lifted[::-1]])
    region = Image.new("L", (side, side))
    ImageDraw.Draw(region).polygon([tuple(point) for point in outline], fill=255)
    soft = region.filter(ImageFilter.GaussianBlur(side / 64))
    return torch.from_numpy(np.asarray(soft, np.float32) / 255)[None, None]


@torch.no_grad()
def judge_encoder(model: Model, photos: Photos, rows: np.ndarray, *, feedback: int = 0) -> Iterator[Judged]:
    """Encode, render and judge the photos ``rows`` one by one.

    ``dlib`` is the distance of dlib's descriptors; ``lpips`` and ``mse`` are of the whole crop, ``lpips_face`` and
    ``mse_face`` of the face; ``seconds`` is the encoder alone, ``seconds_render`` the picture at full size.
    """
    encoder = model.require("encoder")
    lpips, face = load_perceptual(), DlibFaceNetwork()
    for row in rows:
        photo = to_signed(photos.pictures([row]))
        landmarks = (photos.landmarks([row]) + 0.5) * SIDE / photo.shape[-1] - 0.5
        start = time.perf_counter()
        ws = encode(model.generator, encoder, photo, feedback=feedback)
        encoded = time.perf_counter()
        image = model.generator.synthesis(ws, noise_mode="const")
        rendered = time.perf_counter()
        photo, found = resize(photo, SIDE), resize(image, SIDE).clamp(-1, 1)
        figures = {"dlib": float(dlib_distances(face, photo, found, landmarks)[0])}
        figures |= _distances(lpips, photo, found, face_region(landmarks[0], SIDE))
        figures |= {"seconds": encoded - start, "seconds_render": rendered - encoded}
        yield Judged(photo, found, figures)


def _distances(lpips: PerceptualDistance, photo: Tensor, found: Tensor, region: Tensor) -> dict[str, float]:
    a, b = lpips.features(photo), lpips.features(found)
    squares = (photo - found).square().mean(dim=1, keepdim=True)
    return {
        "lpips": float(lpips.compare(a, b)),
        "mse": float(squares.mean()),
        "lpips_face": float(lpips.compare(a, b, region)),
        "mse_face": float((squares * region).sum() / region.sum()),
    }


def summary(judged: list[dict[str, float]]) -> dict[str, float]:
    """Means of the figures, the median of the seconds, and ``same_person``, the share below dlib's threshold."""
    figures = {name: float(np.mean([one[name] for one in judged])) for name in judged[0]}
    for name in ("seconds", "seconds_render"):
        figures[name] = float(np.median([one[name] for one in judged]))
    figures["same_person"] = float(np.mean([one["dlib"] < SAME_PERSON for one in judged]))
    return figures
