"""Drawn masks: where they are, where they are not, and that they follow head, light and photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from latentedit.errors import FaceError
from latentedit.faces import CropTemplate, align
from latentedit.faces.detect import DetectedFace
from latentedit.faces.mask_art import MEAN_FACE, ORIGIN, SPAN, draw_sheet
from latentedit.faces.mask_styles import PATTERNS, MaskStyle, from_hsv, random_style
from latentedit.faces.masks import DrawnMask, blur_of, draw_mask, shifted

KINDS = ("surgical", "cloth", "respirator")


@pytest.fixture(scope="module")
def face(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> tuple[Image.Image, np.ndarray]:
    found = align(photos["portrait_a.jpg"], faces["portrait_a.jpg"][0].landmarks, CropTemplate(0.8, 0.2), 160)
    return found.crop, found.crop_landmarks()


def cover(drawn: DrawnMask) -> np.ndarray:
    return np.asarray(drawn.region).astype(float) / 255


def at(values: np.ndarray, point: np.ndarray) -> float:
    x, y = np.clip(np.round(point).astype(int), 0, [values.shape[1] - 1, values.shape[0] - 1])
    return float(values[y, x])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_covers_nose_and_mouth_but_not_the_eyes(face: tuple[Image.Image, np.ndarray], kind: str, seed: int) -> None:
    photo, points = face
    drawn = draw_mask(photo, points, kind=kind, seed=seed)
    covered = cover(drawn)
    assert drawn.photo.size == drawn.region.size == photo.size
    assert drawn.region.mode == "L"
    for index in (30, 33, 48, 51, 54, 57, 62):
        assert at(covered, points[index]) > 0.95, index
    for index in (*range(36, 48), 19, 24):
        assert at(covered, points[index]) < 0.05, index
    assert at(covered, points[8] - [0, 6]) > 0.9  # down to the chin


@pytest.mark.parametrize("kind", KINDS)
def test_under_the_nose_leaves_the_nose_free(face: tuple[Image.Image, np.ndarray], kind: str) -> None:
    photo, points = face
    covered = cover(draw_mask(photo, points, kind=kind, under_nose=True, seed=3))
    assert at(covered, points[30]) < 0.05
    assert at(covered, points[57]) > 0.95
    assert at(covered, points[66]) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_away_from_the_mask_every_bit_stays(face: tuple[Image.Image, np.ndarray], kind: str) -> None:
    photo, points = face
    drawn = draw_mask(photo, points, kind=kind, seed=5)
    changed = np.abs(np.asarray(drawn.photo).astype(int) - np.asarray(photo)).max(-1)
    eyes_up = int(points[36:48, 1].max())
    assert changed[: eyes_up - 12].max() == 0
    assert changed[cover(drawn) > 0.9].mean() > 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right", "bottom"])
def test_a_face_that_the_frame_cuts_off_wears_one_mask(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]], kind: str, side: str
) -> None:
    points = faces["portrait_a.jpg"][0].landmarks
    middle = points[33]
    left, top, right, bottom = (*(points.min(0) - 60).tolist(), *(points.max(0) + 60).tolist())
    box = {"left": (middle[0], top, right, bottom), "right": (left, top, middle[0], bottom),
           "bottom": (left, top, right, points[57][1])}[side]  # fmt: skip
    whole = tuple(int(value) for value in box)
    drawn = draw_mask(photos["portrait_a.jpg"].crop(whole), points - whole[:2], kind=kind, seed=2)
    region = np.asarray(drawn.region)
    islands, count = label(region > 0, np.ones((3, 3)))
    assert count == 1, [int((islands == i).sum()) for i in range(1, count + 1)]
    assert region.max() == 255


def test_a_shift_brings_zeros_in() -> None:
    values = np.arange(1.0, 13).reshape(3, 4)
    for down, right in ((0, 0), (1, -2), (-2, 1), (5, 0), (0, -9)):
        expected = np.zeros((3, 4))
        for y in range(3):
            for x in range(4):
                if 0 <= y + down < 3 and 0 <= x + right < 4:
                    expected[y + down, x + right] = values[y, x]
        np.testing.assert_array_equal(shifted(values, down, right), expected)


def test_same_seed_same_mask_other_seed_another(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    one, two, other = (draw_mask(photo, points, kind="cloth", seed=seed) for seed in (7, 7, 8))
    assert one.photo.tobytes() == two.photo.tobytes()
    assert one.style == two.style
    assert one.photo.tobytes() != other.photo.tobytes()


def test_follows_the_tilt_of_the_head(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    angle = np.deg2rad(25)
    middle = (np.array(photo.size) - 1) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned_points = (points - middle) @ turn + middle
    turned = photo.rotate(25, Image.Resampling.BICUBIC)
    style = MaskStyle(seed=1, straps=False)
    straight = draw_mask(photo, points, style=style).region.rotate(25, Image.Resampling.BICUBIC)
    tilted = draw_mask(turned, turned_points, style=style).region
    a, b = np.asarray(straight) > 127, np.asarray(tilted) > 127
    assert (a & b).sum() / (a | b).sum() > 0.93


def test_colour_comes_through(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    for color in ((0.9, 0.1, 0.1), (0.1, 0.6, 0.1), (0.1, 0.1, 0.8)):
        drawn = draw_mask(photo, points, color=color, seed=2)
        mean = np.asarray(drawn.photo)[cover(drawn) > 0.99].mean(0)
        assert int(mean.argmax()) == int(np.argmax(color))


def test_dim_and_grey_photos_get_dim_and_grey_masks(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    style = MaskStyle(color=(0.5, 0.75, 0.9), seed=1)
    bright = draw_mask(photo, points, style=style)
    inside = cover(bright) > 0.99
    dim = draw_mask(photo.point(lambda v: int(v * 0.4)), points, style=style)
    assert np.asarray(dim.photo)[inside].mean() < 0.75 * np.asarray(bright.photo)[inside].mean()
    grey = np.asarray(draw_mask(photo.convert("L").convert("RGB"), points, style=style).photo)[inside].astype(int)
    # grain differs a little between the channels; colour must not
    assert np.ptp(grey.mean(0)) < 1.5


def test_light_from_the_side_falls_on_the_mask(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    style = MaskStyle(wrinkles=0.3, seed=1)
    ramp = np.linspace(1.0, 0.35, photo.width)[None, :, None]
    halves = []
    for light in (ramp, ramp[:, ::-1]):
        lit = Image.fromarray((np.asarray(photo) * light).astype(np.uint8))
        drawn = draw_mask(lit, points, style=style)
        inside = cover(drawn) > 0.99
        grey = np.asarray(drawn.photo.convert("L")).astype(float)
        left = np.arange(photo.width)[None, :] < points[30, 0]
        halves.append(grey[inside & left].mean() - grey[inside & ~left].mean())
    assert halves[0] > 5
    assert halves[1] < -5


def test_edges_are_as_soft_as_the_photo(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face

    def width(picture: Image.Image) -> int:
        covered = cover(draw_mask(picture, points, style=MaskStyle(straps=False, seed=1)))
        return int(((covered > 0.05) & (covered < 0.95)).sum())

    small = photo.resize((40, 40), Image.Resampling.BOX).resize(photo.size, Image.Resampling.BICUBIC)
    assert width(small) > 1.3 * width(photo)


def test_blur_estimate_grows_with_the_blur(photos: dict[str, Image.Image]) -> None:
    sharp = photos["portrait_a.jpg"].crop((300, 80, 700, 520)).resize((200, 220), Image.Resampling.BOX)
    pixels = np.asarray(sharp, dtype=np.float32) / 255
    assert blur_of(pixels) < 0.7
    for sigma in (1.0, 2.0, 3.0):
        assert blur_of(gaussian_filter(pixels, (sigma, sigma, 0))) == pytest.approx(0.7 * sigma + 0.25, abs=0.35)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_shows(pattern: str) -> None:
    base = MaskStyle(form="cloth", color=(0.9, 0.9, 0.9), accent=(0.1, 0.1, 0.5), seed=4, straps=False)
    plain = draw_sheet(base, 192)
    sheet = draw_sheet(replace(base, pattern=pattern), 192)
    inside = sheet.cover > 0.99
    assert sheet.color.min() >= 0
    assert sheet.color.max() <= 1
    difference = np.abs(sheet.color[inside] - plain.color[inside]).mean()
    assert (difference > 0.02) == (pattern != "plain")


@pytest.mark.parametrize("form", ["surgical", "cloth", "fold", "cup"])
def test_flat_masks_lie_on_the_mean_face(form: str) -> None:
    sheet = draw_sheet(MaskStyle(form=form, straps=False, valve=form == "cup", seed=1), 192)

    def value(x: float, y: float) -> float:
        column, row = ((np.array([x, y]) - ORIGIN) / SPAN * 192).astype(int)
        return float(sheet.cover[row, column])

    assert value(0, 1.0) == 1
    assert value(0, 0.55) == 1
    assert value(0.45, 0.0) == 0
    assert value(0, -0.1) == 0
    assert value(0, 2.1) == 0
    assert 0.15 < sheet.cover.mean() < 0.5


def test_mean_face_is_symmetric() -> None:
    mirrored = MEAN_FACE[[*range(16, -1, -1)]] * [-1, 1]
    np.testing.assert_allclose(MEAN_FACE[:17], mirrored, atol=1e-9)
    np.testing.assert_allclose(MEAN_FACE[36:42].mean(0) + MEAN_FACE[42:48].mean(0), [0, 0], atol=2e-3)
    assert MEAN_FACE[42:48, 0].mean() - MEAN_FACE[36:42, 0].mean() == pytest.approx(1, abs=2e-3)


def test_styles_vary_and_keep_their_kind() -> None:
    styles = [random_style(np.random.RandomState(seed), "respirator") for seed in range(60)]
    assert {style.form for style in styles} == {"fold", "cup"}
    assert len({style.color for style in styles}) == 60
    low = sum(style.drop > 0.5 for style in styles)
    assert 1 <= low <= 20  # one in eight under the nose
    over = [random_style(np.random.RandomState(seed), "cloth", under_nose=False) for seed in range(9)]
    assert all(style.drop < 0.5 for style in over)


def test_hsv_reference_values() -> None:
    np.testing.assert_allclose(from_hsv(0, 1, 1), [1, 0, 0])
    np.testing.assert_allclose(from_hsv(1 / 3, 1, 0.5), [0, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(from_hsv(0.6, 0, 0.7), [0.7, 0.7, 0.7])


def test_photo_keeps_its_size_and_other_faces(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    photo, found = photos["two_people.jpg"], faces["two_people.jpg"]
    drawn = draw_mask(photo, found[0].landmarks, seed=1)
    changed = np.abs(np.asarray(drawn.photo).astype(int) - np.asarray(photo)).max(-1) > 0
    left, top, right, bottom = (round(v) for v in found[1].box)
    assert not changed[top:bottom, left:right].any()
    assert changed.any()


def test_face_at_the_border_and_outside(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    half = photo.crop((0, 0, photo.width, int(points[33, 1])))
    assert draw_mask(half, points, seed=0).photo.size == half.size
    away = draw_mask(photo, points + 1000, seed=0)
    assert away.photo.tobytes() == photo.tobytes()
    assert np.asarray(away.region).max() == 0


def test_refusals(face: tuple[Image.Image, np.ndarray]) -> None:
    photo, points = face
    with pytest.raises(FaceError, match=r"no mask 'scarf'\. Choose one of surgical, cloth, respirator\."):
        draw_mask(photo, points, kind="scarf")  # type: ignore[arg-type]
    with pytest.raises(FaceError, match=r"shape \(5, 2\) carry no mask"):
        draw_mask(photo, points[:5])
    with pytest.raises(FaceError, match="too small for a mask"):
        draw_mask(photo, points / 100)
