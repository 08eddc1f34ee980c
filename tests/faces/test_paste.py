"""Pasting back: what must not change does not, bit for bit; what was edited arrives in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.errors import FaceError
from latentedit.faces import FFHQ, AlignedFace, CropTemplate, align, align_photo, paste_back
from latentedit.faces.align import to_crop
from latentedit.faces.detect import DetectedFace
from latentedit.faces.paste import blend_weight
from latentedit.images import load_image

TIGHT = CropTemplate(0.55, 0.2)
NAMES = ("astronaut.png", "portrait_b.jpg", "two_people.jpg")


@pytest.fixture(scope="module", params=[(name, size) for name in NAMES for size in (64, 256)], ids=str)
def aligned(
    request: pytest.FixtureRequest, photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> AlignedFace:
    name, size = request.param
    return align(photos[name], faces[name][0].landmarks, TIGHT, size)


def weights(face: AlignedFace, feather: float = 0.12) -> np.ndarray:
    assert face.photo is not None
    x, y = np.meshgrid(np.arange(face.photo.width), np.arange(face.photo.height))
    shares = (to_crop(np.stack([x, y], -1), face.quad, 100) + 0.5) / 100
    inside = ((shares > 0) & (shares < 1)).all(-1)
    return np.where(inside, blend_weight(shares, feather), 0)


def difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(a).astype(int) - np.asarray(b)).max(-1)


def test_unedited_crop_changes_nothing(aligned: AlignedFace) -> None:
    assert difference(paste_back(aligned, aligned.crop), aligned.photo).max() == 0


def test_unedited_crop_without_detail_changes_little(aligned: AlignedFace) -> None:
    changed = difference(paste_back(aligned, aligned.crop, keep_detail=False), aligned.photo)
    assert changed[weights(aligned) > 0].mean() < 9


@pytest.mark.parametrize("keep_detail", [True, False])
def test_outside_the_blend_every_bit_stays(aligned: AlignedFace, keep_detail: bool) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (aligned.crop.width,) * 2 + (3,), np.uint8)
    changed = difference(paste_back(aligned, Image.fromarray(noise), keep_detail=keep_detail), aligned.photo)
    weight = weights(aligned)
    assert changed[weight == 0].max() == 0
    assert (changed[weight > 0.5] > 0).mean() > 0.9


def test_edit_arrives_at_its_place_and_strength(aligned: AlignedFace) -> None:
    crop = np.asarray(aligned.crop).astype(np.float32)
    size = len(crop)
    brighter = crop.copy()
    low, high = round(0.4 * size), round(0.6 * size)
    brighter[low:high, low:high] = np.clip(brighter[low:high, low:high] + 12, 0, 255)
    result = paste_back(aligned, Image.fromarray(brighter.astype(np.uint8)))
    photo = np.asarray(aligned.photo).astype(int)
    change = np.asarray(result).astype(int) - photo
    x, y = np.meshgrid(np.arange(photo.shape[1]), np.arange(photo.shape[0]))
    shares = (to_crop(np.stack([x, y], -1), aligned.quad, 100) + 0.5) / 100
    middle = (np.abs(shares - 0.5) < 0.06).all(-1) & (photo.max(-1) < 240)
    away = (np.abs(shares - 0.5) > 0.16).any(-1)
    assert np.abs(change[middle].mean() - 12) < 2.5
    assert np.abs(change[away]).max() <= 2


def test_colour_cast_is_matched_away(aligned: AlignedFace) -> None:
    crop = np.asarray(aligned.crop).astype(int)
    if crop.max() > 250 or crop.min() < 5:
        crop = np.clip(crop, 25, 230)
    cast = Image.fromarray(np.clip(crop + np.array([20, -15, 10]), 0, 255).astype(np.uint8))
    matched = difference(paste_back(aligned, cast), aligned.photo)
    plain = difference(paste_back(aligned, cast, match_color=False), aligned.photo)
    inside = weights(aligned) > 0.9
    assert matched[inside].mean() < 4
    assert plain[inside].mean() > 15


def test_tensor_and_image_give_the_same(aligned: AlignedFace) -> None:
    image = Image.fromarray(255 - np.asarray(aligned.crop))
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float().sub(127.5).div(127.5)
    one, three = paste_back(aligned, tensor), paste_back(aligned, tensor[None])
    assert difference(one, three).max() == 0
    assert difference(one, paste_back(aligned, image)).max() <= 2


def test_crop_of_another_size_fits_the_same_place(aligned: AlignedFace) -> None:
    # 2x the pixels of the same picture: the same paste but for resampling
    bigger = aligned.crop.resize((aligned.crop.width * 2,) * 2, Image.Resampling.BICUBIC)
    changed = difference(paste_back(aligned, bigger), aligned.photo)
    assert changed[weights(aligned) > 0].mean() < 9


def test_detail_finer_than_the_crop_is_kept(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    face = align(photos["portrait_a.jpg"], faces["portrait_a.jpg"][0].landmarks, TIGHT, 32)
    warmer = Image.fromarray(np.clip(np.asarray(face.crop).astype(int) + np.array([3, 0, -3]), 0, 255).astype(np.uint8))

    def sharpness(image: Image.Image) -> float:
        low, high = face.quad.min(0) + 60, face.quad.max(0) - 60
        grey = np.asarray(image.crop((*low.astype(int).tolist(), *high.astype(int).tolist())).convert("L"), dtype=float)
        return float(np.abs(np.diff(grey, axis=1)).mean())

    assert face.photo is not None
    kept = sharpness(paste_back(face, warmer, match_color=False))
    lost = sharpness(paste_back(face, warmer, match_color=False, keep_detail=False))
    assert kept > 0.97 * sharpness(face.photo)
    assert lost < 0.8 * sharpness(face.photo)


def test_quad_that_leaves_the_photo(photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]) -> None:
    left, top, right, bottom = (round(v) for v in faces["portrait_a.jpg"][0].box)
    photo = photos["portrait_a.jpg"].crop((left, top, right, bottom))
    face = align(photo, faces["portrait_a.jpg"][0].landmarks - [left, top], FFHQ, 128)
    assert difference(paste_back(face, face.crop), photo).max() == 0
    result = paste_back(face, Image.new("RGB", (128, 128), (255, 0, 0)), match_color=False)
    assert result.size == photo.size
    middle = np.asarray(result)[photo.height // 2, photo.width // 2]
    assert middle[0] > 240
    assert middle[1:].max() < 20


def test_second_face_goes_into_the_photo_of_the_first(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]]
) -> None:
    photo = photos["two_people.jpg"]
    first, second = (align(photo, f.landmarks, TIGHT, 64) for f in faces["two_people.jpg"][:2])
    red = Image.new("RGB", (64, 64), (255, 0, 0))
    once = paste_back(first, red, match_color=False)
    twice = paste_back(second, red, match_color=False, photo=once)
    changed = difference(twice, photo) > 40
    for face in (first, second):
        x, y = face.quad.mean(0).round().astype(int)
        assert changed[y, x]
    assert difference(twice, once)[weights(first) > 0].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "L", "I;16", "CMYK"])
def test_photos_of_any_mode(
    photos: dict[str, Image.Image], faces: dict[str, list[DetectedFace]], tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "photo.tif"
    if mode == "I;16":
        grey = np.asarray(photos["astronaut.png"].convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path)
    else:
        photo = photos["astronaut.png"].convert(mode)
        if mode == "RGBA":
            photo.putalpha(Image.linear_gradient("L").resize(photo.size).point(lambda v: max(v, 200)))
        photo.save(path)
    shown = load_image(path)
    face = align_photo(path, TIGHT, 64)
    assert isinstance(face, AlignedFace)
    np.testing.assert_allclose(face.quad, TIGHT.quad(faces["astronaut.png"][0].landmarks), atol=6)
    result = paste_back(face, Image.new("RGB", (64, 64), (200, 30, 30)), match_color=False)
    assert (result.mode, result.size) == ("RGB", shown.size)
    assert difference(result, shown)[weights(face) == 0].max() == 0
    x, y = face.quad.mean(0).round().astype(int).tolist()
    np.testing.assert_allclose(result.getpixel((x, y)), (200, 30, 30), atol=2)
    # pasting into the photo as it was opened, in its own mode, gives the same
    assert (
        difference(
            paste_back(face, Image.new("RGB", (64, 64), (200, 30, 30)), match_color=False, photo=Image.open(path)),
            result,
        ).max()
        == 0
    )


def test_weight_profile() -> None:
    middle = blend_weight(np.array([[0.5, 0.5], [0.0, 0.5], [0.5, 1.0], [0.06, 0.5], [0.12, 0.5], [0.02, 0.02]]), 0.12)
    np.testing.assert_allclose(middle, [1, 0, 0, 0.5, 1, 0], atol=1e-9)


def test_refusals(aligned: AlignedFace) -> None:
    with pytest.raises(FaceError, match="kept without its photo"):
        paste_back(replace(aligned, photo=None), aligned.crop)
    with pytest.raises(FaceError, match=r"A photo of 10x10 is not the one"):
        paste_back(aligned, aligned.crop, photo=Image.new("RGB", (10, 10)))
    with pytest.raises(FaceError, match="feather=0 is out of range"):
        paste_back(aligned, aligned.crop, feather=0)
    with pytest.raises(FaceError, match="20x10 is not square"):
        paste_back(aligned, Image.new("RGB", (20, 10)))
