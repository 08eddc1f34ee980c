"""Finding faces and their 68 landmarks with dlib.

Points are ``(x, y)`` in pixel indices of the photo. The landmarks follow the iBUG 300-W scheme: jaw 0-16, brows 17-26,
nose 27-35, eyes 36-47, mouth 48-67.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from latentedit.errors import FaceError
from latentedit.faces.dlib_models import predict_landmarks, run_cnn, run_hog
from latentedit.faces.no_face import why_none
from latentedit.faces.turned import needs_turning, roll_of_face, scaled, search_turned, upright_landmarks
from latentedit.images import load_image

DetectorName = Literal["auto", "hog", "cnn"]

SMALL_PHOTO = 600
"""Photos whose longer side is below this are searched at twice their size: dlib's detectors need 80 pixels a face."""
LARGE_PHOTO = 2000
"""Photos with a longer side above this are searched scaled down to it first."""
_CNN_PIXELS = (350_000, 750_000)  # 2 and 4 seconds of one core
_SMALLEST_SIDE = 24  # of a picture that is searched: dlib needs some pixels to scan
_SURE = 0.8  # score of an upright face that leaves no doubt
_SURER = 0.4  # by which a turned one has to exceed it
_WEAK = 0.1  # share of the best score below which a frontal detection is taken for a pattern in cloth or leaves


@dataclass(frozen=True)
class DetectedFace:
    """A face in a photo: ``box`` (left, top, right, bottom) in pixels, ``landmarks`` float64 [68,2], dlib's confidence
    ``score`` (comparable only within one detector), and the ``detector`` that found it: "hog", "cnn", or "guess" (see
    :func:`guess_face`)."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float
    detector: str

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def detect(
    photo: Image.Image, *, detector: DetectorName = "auto", scales: Sequence[float] | None = None
) -> list[DetectedFace]:
    """All faces in an RGB ``photo``, the largest first; an empty list when there is none.

    "hog" is fast and sees frontal faces, from eight sides where it sees none upright; "cnn" also sees masked and turned
    away ones and takes seconds on a CPU. "auto" asks the first, and the second when the first sees nothing. Each
    searches the photo scaled by ``scales`` in turn until it sees a face; by default they follow from the size of the
    photo, and bound the effort: about 3 seconds of HOG, and 6 of CNN. With ``scales`` given, HOG looks at
    upright faces only.

    Raises:
        FaceError: an unknown detector.
        MissingExtraError: dlib or its model files are not installed.
    """
    if detector not in ("auto", "hog", "cnn"):
        raise FaceError(f"There is no detector {detector!r}.", "Choose auto, hog, or cnn.")
    photo = photo if photo.mode == "RGB" else load_image(photo)
    faces: list[DetectedFace] = []
    if min(photo.size) < 8:
        return faces
    if detector in ("auto", "hog"):
        faces = _search(photo, scales or _hog_scales(photo), _hog_upright, "hog")
        surest = max((face.score for face in faces), default=-_SURER)
        if scales is None and surest < _SURE:  # a face upside down leaves something face-like upright
            turned = _turned(photo)
            faces = turned if max((face.score for face in turned), default=-1.0) > surest + _SURER else faces
    if detector == "cnn" or (detector == "auto" and not faces):
        faces = _search(photo, scales or _cnn_scales(photo), run_cnn, "cnn")
    return sorted(faces, key=lambda face: -face.area)


def guess_face(photo: Image.Image) -> DetectedFace | None:
    """The most face-like pattern near the middle of a photo that is known to show one face, however weak.

    For data sets of masked and turned faces that both detectors miss. The pattern spans at least two fifths of the
    photo's shorter side; the ``score`` is the HOG detector's, usually below 0. None when nothing resembles a face.
    """
    photo = photo if photo.mode == "RGB" else load_image(photo)
    fit = 140 / min(photo.size)
    best, best_value = None, -np.inf
    for scale in (fit, 1.4 * fit, 2 * fit):
        pixels = np.asarray(scaled(photo, scale))
        for rectangle, score in run_hog(pixels, -1.0):
            middle = np.array([rectangle.left() + rectangle.right(), rectangle.top() + rectangle.bottom()]) / 2
            away = middle / (pixels.shape[1], pixels.shape[0]) - 0.5
            value = score - np.hypot(*away)
            if rectangle.width() >= 0.4 * min(pixels.shape[:2]) and value > best_value:
                best, best_value = (rectangle, score, scale), value
    return None if best is None else _face(photo, *best, "guess")


def choose_faces(
    photo: Image.Image,
    face: int | Literal["all"] = 1,
    *,
    detector: DetectorName = "auto",
    name: str | None = None,
) -> list[DetectedFace]:
    """The faces asked for: number ``face``, counted from 1, the largest, or all of them. ``name`` is for errors.

    Raises:
        FaceError: the photo shows no face, or fewer than asked for, or ``face`` is no number from 1 on.
    """
    if face != "all" and (isinstance(face, bool) or not isinstance(face, int) or face < 1):
        raise FaceError(f"There is no face {face!r}.", 'Count from 1, the largest, or say "all".')
    found = detect(photo, detector=detector)
    subject = f"The photo {name!r}" if name else "The photo"
    if not found:
        raise FaceError(
            f"{subject} shows no face that the detector sees: {why_none(photo)}.",
            "Give a photo of a face that looks at you, at least 80 pixels wide.",
        )
    if face == "all":
        return found
    if face > len(found):
        faces = "1 face" if len(found) == 1 else f"{len(found)} faces"
        raise FaceError(f"{subject} shows {faces}, so there is no face {face}.", f"Choose 1 to {len(found)}, or all.")
    return [found[face - 1]]


def landmarks_in(photo: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    """The 68 landmarks ``[68,2]`` of the upright face in ``box`` (left, top, right, bottom)."""
    return predict_landmarks(np.asarray(photo), box)


def _hog_scales(photo: Image.Image) -> list[float]:
    longest = max(photo.size)
    if longest < 140:
        return [2.0, 3.0]
    if longest < SMALL_PHOTO:
        return [2.0, 1.0]
    if longest <= LARGE_PHOTO:
        return [1.0, 2.0]
    return [LARGE_PHOTO / longest, 1.0] if longest < 2.5 * LARGE_PHOTO else [LARGE_PHOTO / longest]


def _cnn_scales(photo: Image.Image) -> list[float]:
    if max(photo.size) < 300:
        return [2.0, 1.0]
    area = photo.width * photo.height
    return [min(2.0, float(np.sqrt(pixels / area))) for pixels in _CNN_PIXELS]


def _search(
    photo: Image.Image, scales: Sequence[float], run: Callable[[np.ndarray], list[tuple[Any, float]]], name: str
) -> list[DetectedFace]:
    """Faces at the first of ``scales`` at which there are any."""
    for scale in scales:
        picture = scaled(photo, scale)
        if min(picture.size) < _SMALLEST_SIDE:  # a strip: nothing in it is as high as a face
            continue
        found = run(np.asarray(picture))
        if found:
            return [_face(photo, rectangle, score, scale, name) for rectangle, score in found]
    return []


def _turned(photo: Image.Image) -> list[DetectedFace]:
    if min(photo.size) < _SMALLEST_SIDE:
        return []
    faces = []
    for found in search_turned(photo):
        points = upright_landmarks(photo, found.centre, found.width, found.angle)
        faces.append(DetectedFace(_box(found.centre, found.width), points, found.score, "hog"))
    return faces


def _face(photo: Image.Image, rectangle: Any, score: float, scale: float, name: str) -> DetectedFace:
    corners = (rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1)
    left, top, right, bottom = (value / scale for value in corners)
    box = (left, top, right, bottom)
    centre, width = ((left + right - 1) / 2, (top + bottom - 1) / 2), right - left
    roll = roll_of_face(photo, centre, width) if name == "cnn" else 0.0
    if roll:
        return DetectedFace(box, upright_landmarks(photo, centre, width, roll), float(score), name)
    if scale > 1:  # whole pixels of the larger picture are finer than those of the photo
        points = (landmarks_in(scaled(photo, scale), corners) + 0.5) / scale - 0.5
    else:
        points = landmarks_in(photo, box)
    if needs_turning(points):
        points = upright_landmarks(photo, centre, width, 0.0)
    return DetectedFace(box, points, float(score), name)


def _box(centre: tuple[float, float], width: float) -> tuple[float, float, float, float]:
    x, y, half = centre[0] + 0.5, centre[1] + 0.5, width / 2
    return x - half, y - half, x + half, y + half


def _hog_upright(pixels: np.ndarray) -> list[tuple[Any, float]]:
    found = run_hog(pixels)
    weak = _WEAK * max((score for _, score in found), default=0.0)
    return [(rectangle, score) for rectangle, score in found if score >= weak]
