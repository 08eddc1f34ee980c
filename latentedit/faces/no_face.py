"""Why a photo may show no face that the detectors see: what to say instead of "none"."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from latentedit.faces.dlib_models import run_hog
from latentedit.faces.turned import scaled

_NEEDED = 80  # pixels that dlib's detectors want of a face
_SIDE = 1000
_LARGEST = 5000
_FLAT = 4.0  # levels by which the brightness of a picture with a motif varies at least
_SOFT = 0.03  # share of the contrast that lies between neighbouring pixels of a picture in focus


def why_none(photo: Image.Image) -> str:
    """The likeliest cause, as the end of a sentence, for an RGB ``photo`` in which no face was found."""
    width, height = photo.size
    if max(photo.size) < _NEEDED:
        return f"it has {width} x {height} pixels, and a face takes {_NEEDED // 2} or more"
    if max(photo.size) > 8 * min(photo.size):
        return f"it is a strip of {width} x {height} pixels"
    small = scaled(photo, min(1.0, _SIDE / max(photo.size)))
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    if grey.std() < _FLAT:
        return "it is almost of one colour"
    candidate = _almost(photo)
    if candidate is not None:
        x, y, size = candidate
        small_or_not = "small" if size < _NEEDED / 2 else "turned away, covered or blurred"
        return f"what looks most like one, {size} pixels wide at ({x}, {y}), is too {small_or_not}"
    if _softness(small, grey) < _SOFT:
        return "it is blurred"
    return "none of at least 40 pixels, upright or lying"


def _almost(photo: Image.Image) -> tuple[int, int, int] | None:
    """Middle and width of the most face-like pattern that was not sure enough to count."""
    best, best_score = None, -0.5
    for scale in (min(1.0, _SIDE / max(photo.size)), min(3.0, _LARGEST / max(photo.size))):
        for rectangle, score in run_hog(np.asarray(scaled(photo, scale)), best_score):
            x, y = rectangle.left() + rectangle.right(), rectangle.top() + rectangle.bottom()
            if score > best_score:
                best_score = score
                best = (round(x / 2 / scale), round(y / 2 / scale), round(rectangle.width() / scale))
    return best


def _softness(picture: Image.Image, grey: np.ndarray) -> float:
    """Contrast that a blur by one pixel takes away, as a share of all."""
    blurred = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(1)), dtype=np.float32)
    return float((grey - blurred).std() / grey.std())
