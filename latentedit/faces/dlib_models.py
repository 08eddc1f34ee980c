"""dlib and its model files, safe to use from several threads.

dlib's detectors and networks keep scratch memory inside: two threads in one of them corrupt the heap. The small ones
exist once for every thread; the networks, whose scratch memory is large, are shared behind a lock.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latentedit.errors import FaceError, MissingExtraError

T = TypeVar("T")

_mine = threading.local()
_shared: dict[str, Any] = {}
_lock = threading.RLock()


def load_dlib() -> Any:
    """The dlib module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise MissingExtraError("dlib is not installed.", "Run: pip install dlib-bin") from error
    return dlib


def model_file(name: str) -> Path:
    """Path of one of dlib's model files; the package that holds them is located and never imported.

    Raises:
        MissingExtraError: the package or the file is not there.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise MissingExtraError(f"dlib's model file {name} is missing.", "Run: pip install face_recognition_models")


def run_hog(pixels: np.ndarray, threshold: float = 0.0) -> list[tuple[Any, float]]:
    """Frontal faces in uint8 [H,W,3] as dlib rectangles with scores above ``threshold``."""
    detector = _own("hog", lambda: load_dlib().get_frontal_face_detector())
    rectangles, scores, _ = _plainly(lambda: detector.run(pixels, 0, threshold), pixels)
    return list(zip(rectangles, scores, strict=True))


def run_cnn(pixels: np.ndarray) -> list[tuple[Any, float]]:
    """Faces of any pose in uint8 [H,W,3] as dlib rectangles with scores; seconds a megapixel."""
    with _lock:
        network = _once("cnn", lambda: load_dlib().cnn_face_detection_model_v1(_path("mmod_human_face_detector.dat")))
        found = _plainly(lambda: network(pixels, 0), pixels)
        return [(one.rect, one.confidence) for one in found]


def predict_landmarks(pixels: np.ndarray, corners: tuple[float, float, float, float]) -> np.ndarray:
    """The 68 landmarks [68,2] of the upright face in ``corners`` (left, top, right, bottom) of uint8 [H,W,3]."""
    predictor = _own("landmarks", lambda: load_dlib().shape_predictor(_path("shape_predictor_68_face_landmarks.dat")))
    rectangle = load_dlib().rectangle(*(round(value) for value in corners))
    shape = _plainly(lambda: predictor(pixels, rectangle), pixels)
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)


def describe_chip(chip: np.ndarray) -> np.ndarray:
    """dlib's descriptor float32 [128] of an aligned face, uint8 [150,150,3]."""
    with _lock:
        name = "dlib_face_recognition_resnet_model_v1.dat"
        network = _once("descriptor", lambda: load_dlib().face_recognition_model_v1(_path(name)))
        return np.array(network.compute_face_descriptor(chip), dtype=np.float32)


def _path(name: str) -> str:
    return str(model_file(name))


def _own(name: str, make: Callable[[], Any]) -> Any:
    if not hasattr(_mine, name):
        setattr(_mine, name, make())
    return getattr(_mine, name)


def _once(name: str, make: Callable[[], Any]) -> Any:
    if name not in _shared:
        _shared[name] = make()
    return _shared[name]


def _plainly(work: Callable[[], T], pixels: np.ndarray) -> T:
    """What dlib objects to is a page of its C++; one line of it is enough."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        height, width = pixels.shape[:2]
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise FaceError(
            f"The face detector fails on a picture of {width} x {height} pixels ({reason[:200]}).",
            "Cut out the part with the face.",
        ) from error
