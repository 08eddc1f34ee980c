"""The quad against the recipe computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.errors import FaceError
from latentedit.faces import FFHQ, CropTemplate
from latentedit.faces.template import overshoot, side_length


def landmarks(left_eye: tuple, right_eye: tuple, mouth_left: tuple, mouth_right: tuple) -> np.ndarray:
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[48], points[54] = left_eye, right_eye, mouth_left, mouth_right
    return points


UPRIGHT = landmarks((100, 200), (160, 200), (110, 270), (150, 270))  # eye to eye 60, eyes (130,200), eye to mouth 70


def test_upright_face_by_hand() -> None:
    # x direction: (60, 0) + (70, 0); half-side max(2*60, 1.8*70) = 126; centre (130, 200 + 7)
    expected = [[4, 81], [4, 333], [256, 333], [256, 81]]
    np.testing.assert_allclose(FFHQ.quad(UPRIGHT), expected, atol=1e-9)


def test_wide_face_uses_the_distance_of_the_eyes() -> None:
    points = landmarks((100, 200), (180, 200), (110, 250), (170, 250))  # 2*80 > 1.8*50
    np.testing.assert_allclose(FFHQ.quad(points)[[0, 2]], [[-20, 45], [300, 365]], atol=1e-9)


def test_scale_and_shift_by_hand() -> None:
    quad = CropTemplate(scale=0.5, shift=0.2).quad(UPRIGHT)  # half-side 63, centre (130, 200 + 21)
    np.testing.assert_allclose(quad, [[67, 158], [67, 284], [193, 284], [193, 158]], atol=1e-9)


def test_skewed_face_by_hand() -> None:
    points = landmarks((0, 0), (4, 0), (1, 4), (5, 4))  # h = (4,0), v = (1,4), x ~ (4,0) + (4,-1) = (8,-1)
    half = 1.8 * np.sqrt(17)  # > 2*4 is false: 7.42 < 8
    half = max(8.0, half)
    x = np.array([8, -1]) / np.sqrt(65) * half
    y = np.array([-x[1], x[0]])
    centre = np.array([2, 0]) + 0.1 * np.array([1, 4])
    np.testing.assert_allclose(FFHQ.quad(points), [centre - x - y, centre - x + y, centre + x + y, centre + x - y])


@pytest.mark.parametrize("angle", [0.3, -1.2, 2.9])
def test_quad_turns_grows_and_moves_with_the_face(angle: float) -> None:
    turn = 1.7 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    template = CropTemplate(0.55, 0.2)
    moved = UPRIGHT @ turn + [31, -7]
    np.testing.assert_allclose(template.quad(moved), template.quad(UPRIGHT) @ turn + [31, -7], atol=1e-9)


def test_side_and_overshoot() -> None:
    quad = FFHQ.quad(UPRIGHT)
    assert side_length(quad) == pytest.approx(252)
    assert overshoot(quad, (300, 400)) == 0
    # pixel centres 0..199 reach to 199.5; the lower edge lies at 333
    assert overshoot(quad, (300, 200)) == pytest.approx((333 - 199.5) / 252)


def test_dictionary_round_trip() -> None:
    template = CropTemplate(0.55, 0.2)
    assert template.to_dict() == {"scale": 0.55, "shift": 0.2}
    assert CropTemplate.from_dict(template.to_dict()) == template
    assert CropTemplate.from_dict({}) == FFHQ


@pytest.mark.parametrize(("scale", "shift"), [(0, 0), (-1, 0), (float("nan"), 0), (1, float("inf"))])
def test_impossible_templates(scale: float, shift: float) -> None:
    with pytest.raises(FaceError, match="is no crop"):
        CropTemplate(scale, shift)


def test_landmarks_that_give_no_crop() -> None:
    with pytest.raises(FaceError, match=r"shape \(5, 2\)"):
        FFHQ.quad(np.zeros((5, 2)))
    with pytest.raises(FaceError, match="coincide"):
        FFHQ.quad(np.zeros((68, 2)))
    with pytest.raises(FaceError, match="give no crop"):
        FFHQ.quad(np.full((68, 2), np.nan))
