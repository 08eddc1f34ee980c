"""Resampling against closed forms: pictures whose colour is a known function of the place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from latentedit.errors import FaceError
from latentedit.faces import FFHQ, CropTemplate, align, align_photo
from latentedit.faces.align import extract, to_crop, to_photo
from latentedit.faces.detect import DetectedFace

TIGHT = CropTemplate(0.55, 0.2)


def slope(width: int, height: int) -> Image.Image:
    """Red grows with x, green with y: 0.5 levels a pixel."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.dstack([x * 0.5, y * 0.5, np.full_like(x, 90)]).round().astype(np.uint8))


def square(centre: tuple[float, float], half: float, angle: float) -> np.ndarray:
    x = half * np.array([np.cos(angle), np.sin(angle)])
    y = np.array([-x[1], x[0]])
    return np.array([-x - y, -x + y, x + y, x - y]) + centre


@pytest.mark.parametrize("size", [16, 50, 64, 200, 333])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_crop_shows_the_photo_at_the_places_of_its_pixels(size: int, angle: float) -> None:
    quad = square((230, 210), 100, angle)
    crop = np.asarray(extract(slope(460, 420), quad, size), dtype=float)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    places = to_photo(np.stack([x, y], -1), quad, size)
    np.testing.assert_allclose(crop[..., 0], places[..., 0] * 0.5, atol=1.5)
    np.testing.assert_allclose(crop[..., 1], places[..., 1] * 0.5, atol=1.5)
    assert np.abs(crop[..., :2].mean((0, 1)) - places.mean((0, 1)) * 0.5).max() < 0.1  # no shift by part of a pixel


def test_whole_pixels_are_copied() -> None:
    rng = np.random.RandomState(0)
    photo = rng.randint(0, 256, (40, 50, 3), np.uint8)
    quad = np.array([[9.5, 4.5], [9.5, 24.5], [29.5, 24.5], [29.5, 4.5]])  # corners of pixels 10..29, 5..24
    np.testing.assert_array_equal(np.asarray(extract(Image.fromarray(photo), quad, 20)), photo[5:25, 10:30])
    small = np.asarray(extract(Image.fromarray(photo), quad, 10), dtype=float)
    means = photo[5:25, 10:30].reshape(10, 2, 10, 2, 3).mean((1, 3))
    np.testing.assert_allclose(small, means, atol=1)  # shrinking averages


def test_fine_patterns_do_not_alias() -> None:
    x, y = np.meshgrid(np.arange(600), np.arange(600))
    board = Image.fromarray(np.repeat((((x + y) % 2) * 255)[..., None], 3, 2).astype(np.uint8))
    crop = np.asarray(extract(board, square((300, 300), 200, 0.2), 32), dtype=float)
    assert np.abs(crop - 127.5).max() < 8


def test_points_there_and_back() -> None:
    quad = square((30, 40), 17, 0.7)
    points = np.random.RandomState(0).rand(5, 2) * 60
    np.testing.assert_allclose(to_photo(to_crop(points, quad, 64), quad, 64), points)
    np.testing.assert_allclose(to_crop(quad, quad, 64), [[-0.5, -0.5], [-0.5, 63.5], [63.5, 63.5], [63.5, -0.5]])


def test_outside_the_photo_is_reflected_then_blurred() -> None:
    rng = np.random.RandomState(0)
    photo = Image.fromarray(rng.randint(0, 256, (100, 100, 3), np.uint8))
    quad = np.array([[-60.5, -0.5], [-60.5, 99.5], [39.5, 99.5], [39.5, -0.5]])
    crop = np.asarray(extract(photo, quad, 100), dtype=float)
    source = np.asarray(photo, dtype=float)
    np.testing.assert_array_equal(crop[:, 60:], source[:, :40])
    near, far = crop[:, 59], crop[:, 5]
    assert np.abs(near - source[:, 0]).mean() < 15  # beside the border: its mirror image
    assert far.std() < 0.25 * source.std()  # far away: smooth
    assert np.abs(far.mean() - source.mean()) < 25  # never black


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 2)])
def test_tiny_photos_pad_without_failing(size: tuple[int, int]) -> None:
    crop = extract(Image.new("RGB", size, (9, 99, 199)), square((0, 0), 40, 0.3), 16)
    assert np.unique(np.asarray(crop).reshape(-1, 3), axis=0).tolist() == [[9, 99, 199]]


def test_very_large_faces_are_shrunk_first() -> None:
    photo = slope(500, 500).resize((9000, 9000), Image.Resampling.NEAREST)
    crop = np.asarray(extract(photo, square((4500, 4500), 4400, 0.0), 32), dtype=float)
    assert crop[16, 0, 0] == pytest.approx(0.5 * (100 + 8800 / 64) / 18, abs=1.5)
    assert crop[16, 31, 0] == pytest.approx(0.5 * (8900 - 8800 / 64) / 18, abs=1.5)


@pytest.mark.parametrize("template", [FFHQ, TIGHT])
@pytest.mark.parametrize("name", ["astronaut.png", "portrait_a.jpg", "portrait_b.jpg", "two_people.jpg"])
def test_portraits_are_upright_and_centred(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]], name: str, template: CropTemplate
) -> None:
    aligned = align(photos[name], faces[name][0].landmarks, template, 128)
    points = aligned.crop_landmarks()
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    mouth = (points[48] + points[54]) / 2
    assert aligned.crop.size == (128, 128)
    assert abs(right[1] - left[1]) < 6  # eyes level
    assert abs((left + right)[0] / 2 - 63.5) < 8
    assert mouth[1] > left[1] + 20
    assert aligned.photo is photos[name]


def test_faces_by_number(photos: dict[str, Image.Image]) -> None:
    everyone = align_photo(photos["two_people.jpg"], TIGHT, 32, face="all")
    assert isinstance(everyone, list)
    assert len(everyone) == 3
    second = align_photo(photos["two_people.jpg"], TIGHT, 32, face=2)
    assert not isinstance(second, list)
    np.testing.assert_array_equal(second.quad, everyone[1].quad)
    assert everyone[0].quad[0, 0] != everyone[1].quad[0, 0]


def test_face_that_is_not_there(photos: dict[str, Image.Image]) -> None:
    with pytest.raises(FaceError, match=r"shows 1 face, so there is no face 2\. Choose 1 to 1, or all\."):
        align_photo(photos["portrait_a.jpg"], face=2)
    with pytest.raises(FaceError, match="There is no face 0"):
        align_photo(photos["portrait_a.jpg"], face=0)
    with pytest.raises(
        FaceError,
        match=r"The photo shows no face that the detector sees: it has 1 x 1 pixels, and a face takes 40 or more\.",
    ):
        align_photo(np.zeros((1, 1, 3), np.uint8))


def test_wrong_size(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> None:
    with pytest.raises(FaceError, match="A crop of 0 pixels"):
        align(photos["portrait_a.jpg"], faces["portrait_a.jpg"][0].landmarks, FFHQ, 0)
