"""Edited faces in their photos: only the face changes, and the photo keeps its detail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentedit.editing import edit
from latentedit.editing.paste import transfer_change
from latentedit.errors import FaceError, ImageError, LatentEditError
from latentedit.inversion import Inversion
from latentedit.models import Model


def outside(inversion: Inversion, size: tuple[int, int]) -> np.ndarray:
    """Pixels beyond the quad's bounding box."""
    quad = inversion.aligned.quad
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    mask = np.ones((size[1], size[0]), dtype=bool)
    mask[max(low[1], 0) : high[1] + 1, max(low[0], 0) : high[0] + 1] = False
    return mask


@pytest.mark.parametrize("detail", ["transfer", "render"])
def test_outside_the_face_every_bit_stays(model: Model, ws: Tensor, detail: str, make_inversion, make_photo) -> None:
    photo = make_photo()
    inversion = make_inversion(model, ws[:1], photo, (60, 50, 10))
    pasted = edit(inversion, model=model, distance={"age": 3, "smile": 3}).paste_back(detail=detail)
    assert pasted.size == photo.size
    before, after = np.asarray(photo), np.asarray(pasted)
    apart = outside(inversion, photo.size)
    assert apart.sum() > 1000
    assert (before[apart] == after[apart]).all()
    assert (before != after).any()


def test_no_change_leaves_the_photo_as_it_is(model: Model, inversion: Inversion, photo: Image.Image) -> None:
    """However far the inversion is off the photo (here by a tenth), what it missed is not pasted."""
    off = Image.fromarray((np.asarray(inversion.target) * 0.9).astype(np.uint8))
    edited = edit(replace(inversion, image=off), model=model)
    edited.__dict__["pixels"] = _tensor(off)
    np.testing.assert_array_equal(np.asarray(edited.paste_back()), np.asarray(photo))
    assert (np.asarray(edited.paste_back(detail="render")) != np.asarray(photo)).any()


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def test_a_small_change_is_added_and_the_photo_stays() -> None:
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.2
    before = torch.full((1, 3, 64, 64), 0.1)
    after = before.clone()
    after[:, :, 20:40, 20:40] += 0.09
    result = transfer_change(photo, before, after)
    torch.testing.assert_close(result[:, :, 25:35, 25:35], photo[:, :, 25:35, 25:35] + 0.09, atol=0.006, rtol=0)
    torch.testing.assert_close(result[:, :, :10], photo[:, :, :10], atol=1e-4, rtol=0)


def test_a_large_change_takes_over_but_for_colour_and_light() -> None:
    """Teeth that the photo shows must not shine through closed lips; the warmth of its light stays."""
    warm = torch.tensor([0.1, 0.0, -0.1])[None, :, None, None]
    before, after = torch.full((1, 3, 64, 64), 0.2), torch.full((1, 3, 64, 64), 0.2)
    after[:, :, 24:40, 16:48] = -0.5
    teeth = 0.2 * (torch.arange(64) % 2 * 2 - 1).float()
    photo = before + warm + teeth
    result = transfer_change(photo, before, after)
    mouth = result[:, :, 28:36, 20:44]
    torch.testing.assert_close(mouth, (after + warm)[:, :, 28:36, 20:44], atol=0.03, rtol=0)
    torch.testing.assert_close(result[:, :, :12], photo[:, :, :12], atol=1e-3, rtol=0)


def test_the_generators_restlessness_is_left_out() -> None:
    photo, before = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    restless = before + 0.005
    assert float(transfer_change(photo, before, restless).abs().max()) < 0.001
    wanted = before + 0.2
    assert float((transfer_change(photo, before, wanted) - 0.2).abs().max()) < 0.01


def test_what_hides_the_face_in_the_photo_is_replaced() -> None:
    """The latent looked through a mask: the difference of two bare faces means nothing on top of it."""
    before, after = torch.full((1, 3, 64, 64), -0.2), torch.full((1, 3, 64, 64), -0.1)
    photo = before.clone()
    photo[:, :, 36:60, 10:54] = 0.9
    result = transfer_change(photo, before, after)
    torch.testing.assert_close(result[:, :, 42:54, 18:46], after[:, :, 42:54, 18:46], atol=0.02, rtol=0)
    torch.testing.assert_close(result[:, :, :20], after[:, :, :20], atol=0.02, rtol=0)


def test_transfer_keeps_detail_that_the_render_lacks(model: Model, ws: Tensor, make_inversion, make_photo) -> None:
    """A photo with fine stripes, finer than the generator's pixels: transfer keeps them, render does not."""
    large = make_photo(640, 480)
    stripes = (np.arange(640)[None, :, None] // 2 % 2 * 24).astype(np.int16)
    photo = Image.fromarray((np.asarray(large) // 2 + 40 + stripes).astype(np.uint8))
    inversion = make_inversion(model, ws[:1], photo, (320, 220, 60))
    inversion = replace(inversion, image=inversion.target)  # a perfect inversion
    edited = edit(inversion, model=model, distance={"age": 0.2})
    edited.__dict__["pixels"] = (_tensor(inversion.target) + 0.03).clamp(-1, 1)
    edited.__dict__["images"] = [Image.fromarray(((edited.pixels[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy())]
    face = np.s_[200:280, 280:360]

    def contrast(image: Image.Image) -> float:
        row = np.asarray(image).astype(float)[face].mean((0, 2))
        return float(np.abs(np.diff(row)).mean())

    kept, drawn = contrast(edited.paste_back()), contrast(edited.paste_back(detail="render"))
    assert kept > 0.8 * contrast(photo)
    assert drawn < 0.3 * contrast(photo)


def test_two_faces_of_one_photo_are_both_pasted(model: Model, ws: Tensor, make_inversion, make_photo) -> None:
    photo = make_photo(320, 160)
    left = make_inversion(model, ws[:1], photo, (80, 70, 12), seed=0)
    right = make_inversion(model, ws[1:2], photo, (240, 70, 12), seed=1)
    both = edit([left, right], model=model, distance={"age": 3})
    pasted = np.asarray(both.paste_back()).astype(int)
    one = np.asarray(edit(left, model=model, distance={"age": 3}).paste_back()).astype(int)
    other = np.asarray(edit(right, model=model, distance={"age": 3}).paste_back()).astype(int)
    assert np.abs(pasted[:, :160] - one[:, :160]).max() <= 1
    assert np.abs(pasted[:, 160:] - other[:, 160:]).max() <= 1
    strange = make_inversion(model, ws[:1], make_photo(200, 160), (80, 70, 12))
    with pytest.raises(FaceError, match="come from different photos"):
        edit([left, strange], model=model).paste_back()


def test_a_photo_can_be_given_instead_of_the_one_that_was_kept(
    model: Model, inversion: Inversion, tmp_path, make_photo
) -> None:
    inversion.save(tmp_path / "a.safetensors", embed_photo=False)
    bare = replace(Inversion.load(tmp_path / "a.safetensors"), photo=None)
    edited = edit(bare, model=model, distance={"age": 2})
    with pytest.raises(ImageError, match=r"kept no photo\. Give it with photo="):
        edited.paste_back()
    photo = make_photo()
    photo.save(tmp_path / "photo.png")
    expected = edit(inversion, model=model, distance={"age": 2}).paste_back()
    np.testing.assert_array_equal(np.asarray(edited.paste_back(photo=tmp_path / "photo.png")), np.asarray(expected))


def test_errors(model: Model, ws: Tensor, inversion: Inversion) -> None:
    with pytest.raises(FaceError, match="come from no photo"):
        edit(ws[:1], model=model).paste_back()
    with pytest.raises(FaceError, match="made of a crop"):
        edit(replace(inversion, aligned=None), model=model).paste_back()
    with pytest.raises(LatentEditError, match="detail='sharp' is unknown"):
        edit(inversion, model=model).paste_back(detail="sharp")
