"""Faces that lie on their side or stand on their head in the photo, and landmarks that fit how a face is turned.

dlib's frontal detector and its landmarks know upright faces, and tolerate about 40 and 15 degrees of roll. So the photo
is looked at from eight sides, and landmarks are found in a view in which the face stands upright. Points are ``(x, y)``
in pixel indices of the photo; angles are degrees by which a head is rolled, clockwise as one looks at the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from latentedit.faces.dlib_models import predict_landmarks, run_hog

ANGLES = (90.0, 270.0, 180.0, 45.0, 315.0, 135.0, 225.0)
_SIDE = 900  # pixels of the longer side of the picture that is turned: faces from a tenth of it on are seen
_FACE = 200.0  # pixels that a face measures in the view that its landmarks are found in
_TOLERATED = 15.0
_SURE = 0.25  # a turned view has to convince more than the upright one: it is looked at seven times


@dataclass(frozen=True)
class View:
    """A square of the photo around ``centre``, ``side`` photo pixels wide, turned upright by ``angle``, as a picture of
    ``size`` pixels."""

    centre: tuple[float, float]
    side: float
    angle: float
    size: int

    def picture(self, photo: Image.Image) -> Image.Image:
        """The view of an RGB ``photo``; black beyond it."""
        right, down = self._axes()
        corner = np.array(self.centre) + 0.5 - (right + down) * (self.size / 2)  # Pillow counts from pixel corners
        reach = 0.75 * self.side
        low = np.clip(np.floor(np.array(self.centre) - reach), 0, photo.size).astype(int)
        high = np.clip(np.ceil(np.array(self.centre) + reach), low + 1, photo.size).astype(int)
        part = photo.crop((*low.tolist(), *high.tolist()))
        factor = max(1, int(self.side / self.size))
        part = part.reduce(factor) if factor > 1 else part  # average before sampling
        start, right, down = (corner - low) / factor, right / factor, down / factor
        matrix = (right[0], down[0], start[0], right[1], down[1], start[1])
        return part.transform((self.size, self.size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Pixel indices [...,2] of the view as photo pixels."""
        right, down = self._axes()
        offset = np.asarray(points, dtype=np.float64) + 0.5 - self.size / 2
        return np.array(self.centre) + offset @ np.stack([right, down])

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        """One pixel to the right and one down in the view, in photo pixels."""
        turn = np.deg2rad(self.angle)
        step = self.side / self.size
        right = step * np.array([np.cos(turn), np.sin(turn)])
        return right, np.array([-right[1], right[0]])


@dataclass(frozen=True)
class TurnedFace:
    """A face of ``width`` photo pixels around ``centre``, rolled by ``angle``, with the detector's ``score``."""

    centre: tuple[float, float]
    width: float
    angle: float
    score: float


def search_turned(photo: Image.Image) -> list[TurnedFace]:
    """Faces that are rolled by more than the upright search tolerates."""
    scale = min(_SIDE / max(photo.size), 2.0)
    small = scaled(photo, scale)
    side = float(np.hypot(*small.size))
    found: list[TurnedFace] = []
    for angle in ANGLES:
        view = View(((small.width - 1) / 2, (small.height - 1) / 2), side, angle, max(1, round(side)))
        for rectangle, score in run_hog(np.asarray(view.picture(small)), _SURE):
            middle = np.array([rectangle.left() + rectangle.right(), rectangle.top() + rectangle.bottom()]) / 2
            x, y = (view.to_photo(middle) + 0.5) / scale - 0.5
            found.append(TurnedFace((float(x), float(y)), rectangle.width() / scale, angle, float(score)))
    return _distinct(found)


def scaled(photo: Image.Image, scale: float) -> Image.Image:
    """``photo`` enlarged or shrunk by ``scale``."""
    if scale == 1.0:
        return photo
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX)


def _distinct(faces: list[TurnedFace]) -> list[TurnedFace]:
    """One of those that lie on each other: the one that the detector is surest of."""
    kept: list[TurnedFace] = []
    for face in sorted(faces, key=lambda one: -one.score):
        if all(np.hypot(*np.subtract(face.centre, one.centre)) > 0.5 * max(face.width, one.width) for one in kept):
            kept.append(face)
    return kept


def upright_landmarks(photo: Image.Image, centre: tuple[float, float], width: float, angle: float) -> np.ndarray:
    """The 68 landmarks [68,2] of a face of ``width`` photo pixels that is rolled by about ``angle``."""
    points = np.zeros((68, 2))
    for _ in range(3):
        view = View(centre, 2.5 * width, angle, round(2.5 * _FACE))
        middle = view.size / 2
        corners = (middle - _FACE / 2, middle - _FACE / 2, middle + _FACE / 2, middle + _FACE / 2)
        points = view.to_photo(predict_landmarks(np.asarray(view.picture(photo)), corners))
        off = (roll_of(points) - angle + 180) % 360 - 180
        if abs(off) < _TOLERATED:
            break
        angle += off
    return points


def roll_of(landmarks: np.ndarray) -> float:
    """By how many degrees the eyes of ``landmarks`` [68,2] are turned from the horizontal, clockwise."""
    across = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    return float(np.rad2deg(np.arctan2(across[1], across[0])))


def needs_turning(landmarks: np.ndarray) -> bool:
    """Whether landmarks found upright are of a face that is rolled by more than they tolerate."""
    return abs(roll_of(landmarks)) > _TOLERATED


def roll_of_face(photo: Image.Image, centre: tuple[float, float], width: float) -> float:
    """How the face in a box is rolled: the side from which it looks most like a face."""
    scores = {}
    for angle in (0.0, *ANGLES):
        view = View(centre, 2.2 * width, angle, round(2.2 * _FACE))
        found = run_hog(np.asarray(view.picture(photo)), -1.5)
        near = [score for rectangle, score in found if _is_middle(rectangle, view.size)]
        scores[angle] = max(near, default=-2.0) + (_SURE if angle == 0 else 0.0)
    return max(scores, key=lambda angle: scores[angle])


def _is_middle(rectangle: object, size: int) -> bool:
    corners = [getattr(rectangle, name)() for name in ("left", "top", "right", "bottom")]
    x, y = (corners[0] + corners[2]) / 2 - size / 2, (corners[1] + corners[3]) / 2 - size / 2
    width = corners[2] - corners[0]
    return bool(np.hypot(x, y) < 0.4 * _FACE and 0.5 * _FACE < width < 2 * _FACE)
