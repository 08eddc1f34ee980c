"""From what users hand in to the crops that are inverted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import landmarks_in

from latentedit.errors import FaceError, ImageError, LatentEditError
from latentedit.faces import CropTemplate, align
from latentedit.images import to_uint8
from latentedit.inversion import InversionConfig, invert

FAST = InversionConfig(steps=6, patience=0)


def test_a_crop_as_path_image_and_array_gives_the_same(model, crops, tmp_path):
    crops[0].save(tmp_path / "crop.png")
    results = [
        invert(source, model=model, face=None, config=FAST)
        for source in (tmp_path / "crop.png", str(tmp_path / "crop.png"), crops[0], np.asarray(crops[0]))
    ]
    for result in results:
        assert torch.equal(result.ws, results[0].ws)
        assert result.image.tobytes() == results[0].image.tobytes()
        assert result.target.tobytes() == crops[0].tobytes()
    assert results[0].photo.path == str(tmp_path / "crop.png")
    assert results[0].aligned is None


@pytest.mark.usefixtures("two_faces")
def test_faces_are_chosen_by_number_or_all(model, wide_photo):
    first, second = (invert(wide_photo, model=model, face=i, config=FAST) for i in (1, 2))
    both = invert(wide_photo, model=model, face="all", config=FAST)
    assert [r.aligned.quad.tolist() for r in both] == [first.aligned.quad.tolist(), second.aligned.quad.tolist()]
    assert first.aligned.quad.tolist() != second.aligned.quad.tolist()
    assert len(invert([wide_photo, wide_photo], model=model, face="all", config=FAST)) == 4
    assert first.target.size == (16, 16)


def test_an_aligned_face_is_taken_as_it_is(model, wide_photo):
    aligned = align(wide_photo, landmarks_in(30, 20, 40), model.template, 16)
    result = invert(aligned, model=model, config=FAST)
    assert result.target.tobytes() == aligned.crop.tobytes()
    assert np.array_equal(result.aligned.quad, aligned.quad)
    large = align(wide_photo, landmarks_in(30, 20, 40), model.template, 32)
    assert invert(large, model=model, config=FAST).target.size == (16, 16)
    other = align(wide_photo, landmarks_in(30, 20, 40), CropTemplate(1.0, 0.0), 16)
    with pytest.raises(FaceError, match=r"cropped by CropTemplate\(scale=1.0.*Align it with the model's template"):
        invert(other, model=model)


def test_a_region_of_the_photo_is_not_compared(model, wide_photo, targets):
    aligned = align(wide_photo, landmarks_in(30, 20, 40), model.template, 16)
    region = np.ones((90, 120))
    region[55:] = 0
    spoiled = np.array(wide_photo)
    spoiled[61:] = 255
    spoiled_face = align(Image.fromarray(spoiled), landmarks_in(30, 20, 40), model.template, 16)
    config = InversionConfig(steps=10, patience=0)
    clean, covered = (
        invert(face, model=model, method="optimize", region=region, config=config).ws
        for face in (aligned, spoiled_face)
    )
    open_ = invert(spoiled_face, model=model, method="optimize", config=config).ws
    assert torch.equal(clean, covered)
    assert (clean - open_).abs().max() > 1e-3


def test_regions_are_checked(model, crops):
    with pytest.raises(ImageError, match=r"region of shape \[4, 4\] does not fit a photo of 16 x 16"):
        invert(crops[0], model=model, face=None, region=np.ones((4, 4)))
    with pytest.raises(ImageError, match=r"outside \[0,1\]"):
        invert(crops[0], model=model, face=None, region=np.full((16, 16), 2.0))
    with pytest.raises(LatentEditError, match="region is of one photo"):
        invert(crops[:2], model=model, face=None, region=np.ones((16, 16)))


def test_crops_of_other_sizes_are_scaled_and_others_refused(model, targets):
    large = Image.fromarray(to_uint8(targets[:1])[0]).resize((64, 64))
    assert invert(large, model=model, face=None, method="encoder").target.size == (16, 16)
    with pytest.raises(ImageError, match=r"crop of 64 x 32 pixels is not square. Let the face be found"):
        invert(large.crop((0, 0, 64, 32)), model=model, face=None)


@pytest.mark.parametrize("face", [0, -1, True, "both", 1.5])
def test_unknown_faces_are_refused(model, crops, face):
    with pytest.raises(FaceError, match=r"is no face. Give 1 for the largest"):
        invert(crops[0], model=model, face=face)


def test_bad_photos_are_named(model, tmp_path, crops):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"text.jpg' is not an image"):
        invert(tmp_path / "text.jpg", model=model)
    with pytest.raises(ImageError, match="There is no file"):
        invert(tmp_path / "none.jpg", model=model)
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(FaceError, match="dot: "):
        invert(tmp_path / "dot.png", model=model)
    with pytest.raises(ImageError, match="dtype float64"):
        invert(np.zeros((8, 8, 3)), model=model)
