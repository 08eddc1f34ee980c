"""Where a photo is: beside an inversion, inside it, or nowhere any more."""

from __future__ import annotations

import hashlib

import pytest
from PIL import Image

from latentedit.errors import ImageError
from latentedit.inversion import PhotoReference


@pytest.fixture
def picture() -> Image.Image:
    return Image.linear_gradient("L").resize((20, 10)).convert("RGB")


def test_a_file_is_known_by_its_path_and_hash(picture, tmp_path, monkeypatch):
    picture.save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    reference = PhotoReference.of_file("a.png")
    assert reference.path == str(tmp_path / "a.png")
    assert reference.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert reference.data is None
    assert reference.open().tobytes() == picture.tobytes()


def test_what_has_no_file_is_kept_without_loss(picture):
    reference = PhotoReference.of_image(picture)
    assert reference.path is None
    assert reference.open().tobytes() == picture.tobytes()
    assert reference.embedded() is reference


def test_an_embedded_photo_outlives_its_file(picture, tmp_path):
    picture.save(tmp_path / "a.png")
    embedded = PhotoReference.of_file(tmp_path / "a.png").embedded()
    (tmp_path / "a.png").unlink()
    assert embedded.open().tobytes() == picture.tobytes()


def test_a_file_that_changed_or_went_is_named_with_the_way_out(picture, tmp_path):
    picture.save(tmp_path / "a.png")
    reference = PhotoReference.of_file(tmp_path / "a.png")
    picture.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "a.png")
    for use in (reference.open, reference.embedded):
        with pytest.raises(ImageError, match=r"a.png' .*has changed .*Give the photo"):
            use()
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a.png' of this inversion cannot be read"):
        reference.open()
