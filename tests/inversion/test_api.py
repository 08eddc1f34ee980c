from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.errors import FaceError, ImageError, LatentEditError
from latentedit.faces import CropTemplate, align
from latentedit.images import to_pil, to_uint8
from latentedit.inversion import Inversion, InversionConfig, invert

FAST = InversionConfig(steps=6, patience=0)


@pytest.fixture(scope="module")
def crops(targets):
    return to_pil(targets)


def _landmarks(left: float, top: float, size: float) -> np.ndarray:
    """Points that are a face as far as the crop is concerned: eyes and mouth at their places."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (0.3, 0.35), (0.7, 0.35)
    points[48], points[54] = (0.35, 0.75), (0.65, 0.75)
    return points * size + (left, top)


@pytest.fixture(scope="module")
def photo():
    stream = np.random.RandomState(0)
    small = Image.fromarray(stream.randint(0, 255, (9, 12, 3)).astype(np.uint8))
    return small.resize((120, 90), Image.Resampling.BICUBIC)


@pytest.fixture
def two_faces(monkeypatch, photo):
    """A detector that finds two faces in every photo; detection itself is tested elsewhere."""
    import latentedit.faces

    def align_photo(image, template, size, *, face=1, detector="auto"):
        found = [align(image, _landmarks(10 + 50 * i, 20, 40), template, size) for i in range(2)]
        return found if face == "all" else found[face - 1]

    monkeypatch.setattr(latentedit.faces, "align_photo", align_photo)


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


def test_the_result_describes_itself(model, crops):
    result = invert(crops[1], model=model, face=None, method="auto", steps=4, seed=3)
    assert isinstance(result, Inversion)
    assert result.ws.shape == (1, model.generator.num_ws, model.generator.w_dim)
    assert all(value.shape[:2] == (1, 1) for value in result.noise.values())
    assert set(result.metrics) == {"mse", "ssim", "perceptual", "identity"}
    assert result.fingerprint == model.fingerprint
    assert result.model == "tiny"
    assert result.settings["method"] == "hybrid"
    assert result.settings["seed"] == 3
    assert result.settings["steps_taken"] == 4
    assert result.settings["config"]["steps"] == 4
    pixels = np.asarray(result.image, dtype=np.float64) - np.asarray(result.target, dtype=np.float64)
    assert np.mean((pixels / 127.5) ** 2) == pytest.approx(result.metrics["mse"], rel=0.02)


def test_a_list_gives_what_each_photo_gives_alone(model, crops):
    alone = [invert(crop, model=model, face=None, config=FAST) for crop in crops[:3]]
    rows = []
    together = invert(crops[:3], model=model, face=None, config=FAST, callback=lambda event: rows.append(event.rows))
    assert sorted(set(rows)) == [(0,), (1,), (2,)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.ws, other.ws)
        assert one.image.tobytes() == other.image.tobytes()
    stacked = invert(np.stack([np.asarray(crop) for crop in crops[:2]]), model=model, face=None, config=FAST)
    assert len(stacked) == 2
    assert invert([], model=model) == []


def test_two_runs_give_identical_files(model, crops, tmp_path):
    for name in ("a", "b"):
        invert(crops[0], model=model, face=None, method="optimize", config=FAST).save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.usefixtures("two_faces")
def test_faces_are_chosen_by_number_or_all(model, photo):
    first, second = (invert(photo, model=model, face=i, config=FAST) for i in (1, 2))
    both = invert(photo, model=model, face="all", config=FAST)
    assert [r.aligned.quad.tolist() for r in both] == [first.aligned.quad.tolist(), second.aligned.quad.tolist()]
    assert first.aligned.quad.tolist() != second.aligned.quad.tolist()
    assert len(invert([photo, photo], model=model, face="all", config=FAST)) == 4
    assert first.target.size == (16, 16)


@pytest.mark.usefixtures("two_faces")
def test_the_inversion_goes_back_into_its_photo(model, photo):
    result = invert(photo, model=model, config=FAST)
    pasted = result.paste_back()
    assert pasted.size == photo.size
    difference = np.abs(np.asarray(pasted, dtype=int) - np.asarray(photo, dtype=int)).max(axis=2)
    assert difference.max() > 5
    assert difference[:, 80:].max() == 0
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    assert np.abs(np.asarray(result.paste_back(red, match_color=False), dtype=int) - np.asarray(photo)).max() > 50


def test_an_aligned_face_is_taken_as_it_is(model, photo):
    aligned = align(photo, _landmarks(30, 20, 40), model.template, 16)
    result = invert(aligned, model=model, config=FAST)
    assert result.target.tobytes() == aligned.crop.tobytes()
    assert np.array_equal(result.aligned.quad, aligned.quad)
    large = align(photo, _landmarks(30, 20, 40), model.template, 32)
    assert invert(large, model=model, config=FAST).target.size == (16, 16)
    other = align(photo, _landmarks(30, 20, 40), CropTemplate(1.0, 0.0), 16)
    with pytest.raises(FaceError, match=r"cropped by CropTemplate\(scale=1.0.*Align it with the model's template"):
        invert(other, model=model)


def test_a_region_of_the_photo_is_not_compared(model, photo, targets):
    aligned = align(photo, _landmarks(30, 20, 40), model.template, 16)
    region = np.ones((90, 120))
    region[55:] = 0
    spoiled = np.array(photo)
    spoiled[61:] = 255
    spoiled_face = align(Image.fromarray(spoiled), _landmarks(30, 20, 40), model.template, 16)
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


def test_a_bare_generator_is_optimised_without_judges(model, crops):
    config = InversionConfig(steps=4, perceptual=None, identity=None)
    result = invert(crops[0], model=model.generator, face=None, config=config)
    assert result.settings["method"] == "optimize"
    assert set(result.metrics) == {"mse", "ssim"}
    assert result.fingerprint == model.fingerprint


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
