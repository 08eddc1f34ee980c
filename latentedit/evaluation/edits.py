"""Figures of a model on held-out photos: inversion, samples, edits. `scripts/evaluate_model.py` prints them.

Identity is judged by dlib's face recognition network, attributes by the model's own perception network. Encoders that
were trained with either as a loss look better to it than to another judge.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.directions import Direction, list_directions
from latentedit.editing.edits import edit
from latentedit.errors import DirectionError
from latentedit.evaluation.spectrum import sharpness
from latentedit.images import to_pil, to_tensor, to_uint8
from latentedit.inversion import Inversion, invert
from latentedit.inversion.similarity import ssim
from latentedit.models import Model
from latentedit.training.data.crops import FaceCrops
from latentedit.training.face_teacher import DlibFaceNetwork, describe_crops

SAME_PERSON = 0.6
"""dlib's threshold on the distance of two descriptors."""


AGE_BANDS = ((13, "0-12"), (30, "13-29"), (60, "30-59"), (200, "60+"))


@dataclass(frozen=True)
class Photos:
    """Held-out photos at the model's resolution: [N,3,R,R], landmarks [N,68,2] in their pixels, and index rows."""

    images: Tensor
    landmarks: np.ndarray
    rows: Sequence[dict[str, str]]

    @classmethod
    def choose(cls, faces: FaceCrops, count: int, *, seed: int = 0, label: str | None = None) -> Photos:
        """``count`` photos drawn with ``seed``, of those whose column ``label`` says yes where one is given."""
        yes = [i for i, row in enumerate(faces.rows) if label is None or float(row.get(label) or 0) > 0.5]
        chosen = np.sort(np.random.default_rng(seed).permutation(yes)[:count]).astype(int)
        return cls(faces.tensor(chosen), faces.landmarks(chosen), [faces.rows[i] for i in chosen])

    def joined(self, other: Photos) -> Photos:
        """These photos and then those of ``other``."""
        landmarks = np.concatenate([self.landmarks, other.landmarks])
        return Photos(torch.cat([self.images, other.images]), landmarks, [*self.rows, *other.rows])


def dlib_distances(network: DlibFaceNetwork, a: Tensor, b: Tensor, landmarks: np.ndarray) -> np.ndarray:
    """Distances [N] of dlib descriptors of images that share their geometry."""
    first, second = (describe_crops(network, np.asarray(to_uint8(part)), landmarks) for part in (a, b))
    return np.linalg.norm(first - second, axis=1)


def evaluate_inversion(
    model: Model, photos: Photos, judge: DlibFaceNetwork, method: str, steps: int | None = None
) -> tuple[dict[str, Any], list[Inversion]]:
    """Figures of an inversion method on ``photos``, and the inversions."""
    pictures = to_pil(photos.images)
    invert(pictures[0], model=model, method=method, steps=min(steps or 0, 2) or None, face=None)
    began = time.perf_counter()
    invert(pictures[0], model=model, method=method, steps=steps, face=None)
    seconds = time.perf_counter() - began
    inversions = invert(pictures, model=model, method=method, steps=steps, face=None)
    images = to_tensor([inversion.image for inversion in inversions])
    distances = dlib_distances(judge, images, photos.images, photos.landmarks)
    errors = (images - photos.images).square().mean(dim=[1, 2, 3]).numpy()
    figures = {
        "photos": len(pictures),
        "mse": float(errors.mean()),
        "same_person": float((distances < SAME_PERSON).mean()),
        "dlib_distance": float(distances.mean()),
        "sharpness": sharpness(images, photos.images),
        "seconds_one_photo": seconds,
        "groups": _groups(photos.rows, errors, distances),
    }
    return figures, inversions


def _groups(rows: Sequence[dict[str, str]], errors: np.ndarray, distances: np.ndarray) -> dict[str, dict[str, float]]:
    """MSE and share of the same person per age group, gender, and ethnicity label, where the data has them."""
    names: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.get("age"):
            band = next(name for limit, name in AGE_BANDS if float(row["age"]) < limit)
            names.setdefault(f"age {band}", []).append(i)
        if row.get("male"):
            names.setdefault("male" if float(row["male"]) > 0.5 else "female", []).append(i)
        if row.get("ethnicity"):
            names.setdefault(f"ethnicity label {row['ethnicity']}", []).append(i)
    return {
        name: {
            "photos": len(chosen),
            "mse": float(errors[chosen].mean()),
            "same_person": float((distances[chosen] < SAME_PERSON).mean()),
        }
        for name, chosen in sorted(names.items())
    }


EDITS: tuple[tuple[str, dict[str, float], str, bool], ...] = (
    ("smile to 0.9", {"smile": 0.9}, "smile", True),
    ("eyeglasses off", {"eyeglasses": 0.05}, "eyeglasses", False),
    ("makeup on", {"makeup": 0.9}, "makeup", True),
)
"""Edits that are tried: name, amounts, the attribute that judges, and whether it is to appear or to vanish."""


def evaluate_edits(
    model: Model, inversions: Sequence[Inversion], photos: Photos, judge: DlibFaceNetwork
) -> dict[str, Any]:
    """Success of edits on held-out inversions, as the perception network and dlib see them.

    Each is tried where it has something to change: a smile where there is none.
    """
    network = model.require("perception")
    before = to_tensor([inversion.image for inversion in inversions])
    with torch.no_grad():
        seen = network.perceive(before)
    result: dict[str, Any] = {}
    older = _edited(model, inversions, {"age": 15.0})
    if older is not None:
        with torch.no_grad():
            change = network.perceive(older).age - seen.age
        distances = dlib_distances(judge, older, before, photos.landmarks)
        result["age +15"] = {
            "change_mean": float(change.mean()),
            "change_std": float(change.std()),
            "same_person": float((distances < SAME_PERSON).mean()),
        }
    for name, amounts, attribute, appears in EDITS:
        chosen = np.flatnonzero((seen[attribute].numpy() < 0.5) == appears)
        images = _edited(model, [inversions[int(i)] for i in chosen], amounts)
        if images is None:
            continue
        with torch.no_grad():
            reached = (network.perceive(images)[attribute] > 0.5) == appears
        distances = dlib_distances(judge, images, before[chosen], photos.landmarks[chosen])
        result[name] = {
            "tried": len(chosen),
            "success": float(reached.float().mean()),
            "same_person": float((distances < SAME_PERSON).mean()),
        }
    return result


def _edited(model: Model, inversions: Sequence[Inversion], amounts: dict[str, Any]) -> Tensor | None:
    """Renders of edited inversions; None where there are none or the model lacks the direction."""
    if not inversions:
        return None
    try:
        return torch.cat([edit(inversion, model=model, **amounts).pixels for inversion in inversions])
    except DirectionError:
        return None


def evaluate_masks(
    model: Model, inversions: Sequence[Inversion], faces: FaceCrops, judge: DlibFaceNetwork, count: int
) -> dict[str, float]:
    """Mask on and off again (SSIM to the start), and photos with a drawn mask unmasked (dlib, to the original)."""
    if "mask" not in list_directions(model):
        return {}
    before = to_tensor([inversion.image for inversion in inversions])
    back = torch.cat([edit(edit(inversion, model=model, mask=0.95), mask=0.0).pixels for inversion in inversions])
    chosen = np.random.default_rng(1).permutation(len(faces.masked))[:count]
    originals = faces.masked_of[chosen]
    found = invert(to_pil(faces.tensor(chosen, masked=True)), model=model, method="encoder", face=None)
    unmasked = torch.cat([edit(inversion, model=model, mask=0.0).pixels for inversion in found])
    distances = dlib_distances(judge, unmasked, faces.tensor(originals), faces.landmarks(originals))
    return {
        "on_off_ssim": float(ssim(back, before).mean()),
        "unmasked_same_person": float((distances < SAME_PERSON).mean()),
    }


def evaluate_directions(model: Model) -> dict[str, float | None]:
    """Held-out SVM accuracy of every direction of the model."""
    return {name: Direction.load(path).accuracy for name, path in sorted(list_directions(model).items())}
