"""What can be opened, and what is said of the rest."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from latentedit.errors import ImageError, MissingExtraError
from latentedit.images import load_image, open_photo, save_photo

PIXELS = np.random.RandomState(0).randint(60, 200, (16, 24, 3)).astype(np.uint8)


def test_the_limit_is_the_callers_not_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns from 89 million pixels on and refuses from 179 million on, for the whole process."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(tmp_path / "a.png").size == (24, 16)
    with pytest.raises(ImageError, match=r"has 24 x 16 pixels, and the limit is 0\.0001 million"):
        load_image(tmp_path / "a.png", max_pixels=100)


def test_threads_that_open_photos_leave_the_filters_of_warnings_alone(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    before = list(warnings.filters)

    def work() -> None:
        for _ in range(30):
            load_image(tmp_path / "a.png")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_a_pipe_is_no_photo_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for read in (load_image, open_photo):
        with pytest.raises(ImageError, match=r"pipe\.jpg' is a pipe or a device, no file\. Save the photo into a file"):
            read(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="is a pipe or a device"):
        load_image("/dev/zero")


def test_a_stream_that_cannot_be_rewound() -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    code = "import sys; from latentedit.images import load_image; print(load_image(sys.stdin.buffer).size)"
    done = subprocess.run([sys.executable, "-c", code], input=stream.getvalue(), capture_output=True, check=True)
    assert done.stdout == b"(24, 16)\n"


@pytest.mark.parametrize("source", [None, 3, object(), [1, 2], {"a": 1}])
def test_what_is_no_photo_at_all(source: object) -> None:
    with pytest.raises(ImageError, match=r"is no photo\. Give a path, an open file, a PIL image, or a uint8 array"):
        load_image(source)  # type: ignore[arg-type]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / name)
    photo = open_photo(tmp_path / name)
    save_photo(None, tmp_path / os.fsdecode(b"out\xe9.png"), like=photo)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / os.fsdecode(b"out\xe9.png"))), PIXELS)
    with pytest.raises(ImageError, match="There is no file"):
        load_image(tmp_path / os.fsdecode(b"none\xe9.png"))
    with pytest.raises(ImageError, match="cannot be read"):
        load_image("a\0b.png")


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL")],
)
def test_kinds_that_a_package_reads_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, kind: str
) -> None:
    for package in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    path = tmp_path / "photo"
    path.write_bytes(head + bytes(200))
    with pytest.raises(MissingExtraError, match=rf"photo' is a {kind} picture.*Run: pip install"):
        load_image(path)


def test_heic_there_and_back(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    photo = open_photo(PIXELS)
    save_photo(None, tmp_path / "a.heic", like=photo, quality=95)
    again = open_photo(tmp_path / "a.heic")
    assert np.abs(np.asarray(again.rgb).astype(int) - PIXELS).mean() < 3
    assert (tmp_path / "a.heic").read_bytes()[4:8] == b"ftyp"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.avif", quality=95, subsampling="4:4:4")
    assert np.abs(np.asarray(load_image(tmp_path / "a.avif")).astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("suffix", [".nef", ".CR2", ".dng"])
def test_raw_files_of_cameras_are_not_read_as_their_thumbnails(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.tif", tiffinfo={50706: b"\1\4\0\0"})
    path = (tmp_path / "a.tif").rename(tmp_path / f"a{suffix}")
    with pytest.raises(ImageError, match=r"is a camera's raw file.*Develop it first"):
        load_image(path)
    with pytest.raises(ImageError, match="is a camera's raw file"):
        load_image(io.BytesIO(path.read_bytes()))


def test_postscript_is_not_handed_to_another_program(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="is not an image that can be read"):
        load_image(tmp_path / "a.eps")
