from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.errors import FaceError, FingerprintError, ImageError, OutputError
from latentedit.faces import align
from latentedit.images import to_pil
from latentedit.inversion import Inversion, InversionConfig, PhotoReference, invert


@pytest.fixture(scope="module")
def photo():
    stream = np.random.RandomState(1)
    small = Image.fromarray(stream.randint(0, 255, (8, 8, 3)).astype(np.uint8))
    return small.resize((80, 80), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def aligned(model, photo):
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[48], points[54] = (30, 35), (50, 33), (33, 55), (48, 54)
    return align(photo, points, model.template, 16)


@pytest.fixture(scope="module")
def inversion(model, aligned):
    return invert(aligned, model=model, config=InversionConfig(steps=12, refine="weights", pivot="w+"))


def test_a_file_holds_everything_and_renders_the_same_pixels(model, inversion, tmp_path):
    inversion.save(tmp_path / "a.safetensors")
    loaded = Inversion.load(tmp_path / "a.safetensors", generator=model)
    assert torch.equal(loaded.ws, inversion.ws)
    assert set(loaded.noise) == set(inversion.noise)
    assert all(torch.equal(loaded.noise[name], value) for name, value in inversion.noise.items())
    assert all(torch.equal(loaded.delta[name][i], pair[i]) for name, pair in inversion.delta.items() for i in (0, 1))
    for name in ("metrics", "fingerprint", "model", "settings"):
        assert getattr(loaded, name) == getattr(inversion, name)
    assert loaded.image.tobytes() == inversion.image.tobytes()
    assert loaded.target.tobytes() == inversion.target.tobytes()
    assert loaded.render(model.generator).tobytes() == inversion.image.tobytes()
    assert np.array_equal(loaded.aligned.quad, inversion.aligned.quad)
    assert np.array_equal(loaded.aligned.landmarks, inversion.aligned.landmarks)
    assert loaded.aligned.template == inversion.aligned.template
    assert loaded.paste_back().tobytes() == inversion.paste_back().tobytes()


def test_noise_and_delta_both_show_in_the_picture(model, inversion):
    for change in ({"noise": {}}, {"deltas": ()}):
        other = dataclasses.replace(inversion, code=dataclasses.replace(inversion.code, **change))
        other = other.render(model.generator)
        assert other.tobytes() != inversion.image.tobytes()


def test_edited_latents_render_with_the_same_noise_and_weights(model, inversion):
    adapted = inversion.adapted(model.generator)
    edited = inversion.ws + 0.3
    expected = to_pil(adapted.synthesis(edited, noise=inversion.noise))[0]
    assert inversion.render(model.generator, edited).tobytes() == expected.tobytes()


def test_another_generator_is_refused(inversion, new_model, tmp_path):
    other = new_model(seed=1)
    inversion.save(tmp_path / "a.safetensors")
    message = (
        rf"belongs to the generator {inversion.fingerprint} \(model 'tiny'\), not to {other.fingerprint}. Use that"
    )
    for use in (
        lambda: Inversion.load(tmp_path / "a.safetensors", generator=other),
        lambda: Inversion.load(tmp_path / "a.safetensors", generator=other.generator),
        lambda: inversion.render(other.generator),
        lambda: inversion.check(other),
    ):
        with pytest.raises(FingerprintError, match=message):
            use()


def test_a_photo_is_referred_to_by_path_and_hash(model, photo, inversion, tmp_path):
    path = tmp_path / "photo.png"
    photo.save(path)
    filed = dataclasses.replace(inversion, photo=PhotoReference.of_file(path))
    filed.save(tmp_path / "a.safetensors")
    loaded = Inversion.load(tmp_path / "a.safetensors")
    assert loaded.photo.data is None
    assert loaded.paste_back().tobytes() == inversion.paste_back().tobytes()
    Image.new("RGB", (80, 80)).save(path)
    with pytest.raises(ImageError, match=r"photo.png' .*has changed .*Give the photo"):
        loaded.paste_back()
    path.unlink()
    with pytest.raises(ImageError, match=r"photo.png' of this inversion cannot be read"):
        loaded.paste_back()
    assert loaded.paste_back(photo=photo).tobytes() == inversion.paste_back().tobytes()


def test_a_photo_can_travel_inside(photo, inversion, tmp_path):
    path = tmp_path / "photo.png"
    photo.save(path)
    filed = dataclasses.replace(inversion, photo=PhotoReference.of_file(path))
    filed.save(tmp_path / "a.safetensors", embed_photo=True)
    inversion.save(tmp_path / "b.safetensors")
    inversion.save(tmp_path / "c.safetensors", embed_photo=False)
    path.unlink()
    for name in ("a", "b"):
        loaded = Inversion.load(tmp_path / f"{name}.safetensors")
        assert loaded.photo.open().tobytes() == photo.tobytes()
    without = Inversion.load(tmp_path / "c.safetensors")
    with pytest.raises(ImageError, match=r"kept no photo. Give it with photo="):
        without.paste_back()


def test_a_crop_has_no_photo_to_go_back_into(inversion):
    with pytest.raises(FaceError, match="made of a crop, so there is no photo"):
        dataclasses.replace(inversion, aligned=None).paste_back()


def test_projected_w_is_written_and_read(model, inversion, tmp_path):
    inversion.save(tmp_path / "projected_w.npz")
    with np.load(tmp_path / "projected_w.npz") as archive:
        assert archive.files == ["w"]
        assert archive["w"].dtype == np.float32
        assert np.array_equal(archive["w"], inversion.ws.numpy())
    loaded = Inversion.load(tmp_path / "projected_w.npz", generator=model)
    assert torch.equal(loaded.ws, inversion.ws)
    assert loaded.fingerprint == model.fingerprint
    assert loaded.image.tobytes() == to_pil(model.generator.synthesis(inversion.ws))[0].tobytes()
    with pytest.raises(FingerprintError, match=r"does not say which generator it is of. Give it with generator="):
        Inversion.load(tmp_path / "projected_w.npz")


def test_an_unwritable_place_leaves_nothing(inversion, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        inversion.save(tmp_path / "file" / "a.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
