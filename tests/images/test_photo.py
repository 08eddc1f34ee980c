"""What a photo carried goes along, and what was not changed keeps its bits, in every format that can hold it.

Files are decoded by FFmpeg (PyAV) where Pillow would show 8 bits of 16.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from icc_profiles import display_p3, grey, press
from PIL import Image, ImageCms

from latentedit.errors import ImageError, OutputError
from latentedit.images import load_image, open_photo, save_photo
from latentedit.images.deep import write_png, write_tiff
from latentedit.images.info import tiff_tags
from latentedit.images.photo import PhotoInfo, Samples

HEIGHT, WIDTH = 20, 30
FACE = (slice(6, 14), slice(10, 22))  # rows and columns that an edit changes
OUTSIDE = np.ones((HEIGHT, WIDTH), bool)
OUTSIDE[FACE] = False


def noise(channels: int, dtype: type = np.uint8) -> np.ndarray:
    top = 256 if dtype is np.uint8 else 65536
    return np.random.RandomState(channels).randint(top // 4, top * 3 // 4, (HEIGHT, WIDTH, channels)).astype(dtype)


def exif() -> bytes:
    found = Image.Exif()
    found[271] = "Maker"
    found[34665] = {36867: "2024:05:06 07:08:09", 40962: WIDTH, 40963: HEIGHT}
    found[34853] = {1: "N", 2: (50.0, 30.0, 0.0)}
    return found.tobytes()


def edited(rgb: Image.Image, change: int = 20) -> Image.Image:
    pixels = np.asarray(rgb).copy()
    pixels[FACE] = np.clip(pixels[FACE].astype(int) + change, 0, 255)
    return Image.fromarray(pixels)


def frame(path: Path, pixels: str) -> np.ndarray:
    with av.open(str(path)) as film:
        return next(film.decode(video=0)).to_ndarray(format=pixels)


def stored(path: Path) -> np.ndarray:
    """The samples of a file [H,W,C], by a decoder that is not the product's."""
    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            return np.array(image)[..., None]
        return np.array(image).reshape(image.height, image.width, -1)


EIGHT = {"L": ["png", "tif", "bmp", "jp2"], "LA": ["png", "tif", "jp2"], "RGB": ["png", "tif", "webp", "bmp", "jp2"],
         "RGBA": ["png", "tif", "webp", "jp2"], "CMYK": ["tif"]}  # fmt: skip


@pytest.mark.parametrize(("mode", "suffix"), [(mode, suffix) for mode, all_ in EIGHT.items() for suffix in all_])
def test_every_lossless_format_keeps_what_is_outside_bit_for_bit(tmp_path: Path, mode: str, suffix: str) -> None:
    values = noise(len(mode))
    Image.frombytes(mode, (WIDTH, HEIGHT), values.tobytes()).save(tmp_path / "in.tif")
    photo = open_photo(tmp_path / "in.tif")
    out = tmp_path / f"out.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_photo(edited(photo.rgb), out, like=photo)
    after = stored(out)
    assert after.shape == values.shape
    np.testing.assert_array_equal(after[OUTSIDE], values[OUTSIDE])
    colours = after[FACE][..., : len(mode.removesuffix("A"))].astype(int)
    assert (colours[..., :3] != values[FACE][..., : min(3, colours.shape[-1])]).mean() > 0.9
    if mode.endswith("A"):
        np.testing.assert_array_equal(after[..., -1], values[..., -1])
    limit = {"LA": 3, "RGBA": 3, "CMYK": 8}.get(mode, 1)  # black ink sets how bright the others can be
    np.testing.assert_allclose(np.asarray(load_image(out)), np.asarray(edited(photo.rgb)), atol=limit)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("mode", "pixels"), [("L", "gray16le"), ("LA", None), ("RGB", "rgb48le"), ("RGBA", "rgba64le")]
)
def test_16_bits_stay_16_bits(tmp_path: Path, mode: str, pixels: str | None, suffix: str) -> None:
    values = noise(len(mode), np.uint16)
    source, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    own = Samples(values, mode.removesuffix("A"), mode.endswith("A"), 65535.0)  # type: ignore[arg-type]
    if suffix == "png":
        write_png(source, values, chunks=())
    else:
        write_tiff(source, own, tags=tiff_tags(PhotoInfo(), None))
    if pixels is not None and (suffix, mode) != ("tif", "LA"):
        np.testing.assert_array_equal(frame(source, pixels).reshape(values.shape), values)
    if (suffix, mode) == ("tif", "LA"):
        pytest.skip("Pillow reads no 16-bit TIFF of grey with alpha")
    photo = open_photo(source)
    assert photo.samples is not None
    np.testing.assert_array_equal(photo.samples.values, values)
    save_photo(edited(photo.rgb), out, like=photo)
    after = open_photo(out).samples
    assert after is not None
    np.testing.assert_array_equal(after.values[OUTSIDE], values[OUTSIDE])
    if pixels is not None:
        np.testing.assert_array_equal(frame(out, pixels).reshape(values.shape), after.values)
    if not own.alpha:
        change = after.values[FACE].astype(int) - values[FACE]
        np.testing.assert_allclose(change, 20 * 257, atol=1)  # what lies below 8 bits stays inside the face too


@pytest.mark.parametrize(("mode", "dtype"), [("F", np.float32), ("I", np.int32)])
def test_32_bit_grey_keeps_its_kind_in_tiff(tmp_path: Path, mode: str, dtype: type) -> None:
    values = (noise(1, np.uint16)[..., 0] / (65535 if mode == "F" else 1)).astype(dtype)
    values[0, 0] = 1 if mode == "F" else 65535
    Image.fromarray(values).save(tmp_path / "in.tif")
    photo = open_photo(tmp_path / "in.tif")
    save_photo(edited(photo.rgb), tmp_path / "out.tif", like=photo)
    with Image.open(tmp_path / "out.tif") as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image)[OUTSIDE], values[OUTSIDE])
        change = (np.asarray(image)[FACE].astype(float) - values[FACE]) / photo.samples.white  # type: ignore[union-attr]
    np.testing.assert_allclose(change, 20 / 255, atol=1e-4)


PROFILES = {"RGB": display_p3(), "RGBA": display_p3(), "L": grey(1.0), "CMYK": press()}


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("RGB", "tif"), ("RGB", "webp"), ("RGB", "jpg"), ("RGB", "avif"), ("RGBA", "png"),
     ("RGBA", "webp"), ("L", "png"), ("L", "tif"), ("L", "jpg"), ("CMYK", "tif"), ("CMYK", "jpg")],
)  # fmt: skip
def test_profile_exif_xmp_and_resolution_go_along(tmp_path: Path, mode: str, suffix: str) -> None:
    values, profile = noise(len(mode)), PROFILES[mode]
    source, out = tmp_path / ("in.tif" if mode == "CMYK" else "in.png"), tmp_path / f"out.{suffix}"
    image = Image.frombytes(mode, (WIDTH, HEIGHT), values.tobytes())
    image.save(source, icc_profile=profile, exif=exif(), dpi=(240, 240))
    photo = open_photo(source)
    save_photo(edited(photo.rgb), out, like=photo)
    if suffix not in ("jpg", "avif"):
        np.testing.assert_array_equal(stored(out)[OUTSIDE], values[OUTSIDE])
    with Image.open(out) as image:
        assert image.mode == mode
        assert image.info["icc_profile"] == profile
        found = image.getexif()
        assert (found[271], found.get(274, 1)) == ("Maker", 1)
        assert found.get_ifd(34665)[36867] == "2024:05:06 07:08:09"
        assert found.get_ifd(34853)[1] == "N"
        if suffix in ("png", "tif", "jpg"):
            np.testing.assert_allclose([float(one) for one in image.info["dpi"]], (240, 240), atol=0.1)
    again = np.asarray(load_image(out)).astype(int)
    limit = 12 if suffix in ("jpg", "avif") else 14 if mode in ("CMYK", "RGBA") else 3
    assert np.abs(again - np.asarray(edited(photo.rgb)))[FACE].mean() < limit


def test_a_colour_beyond_srgb_stays_in_its_own_space(tmp_path: Path) -> None:
    green = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    green[..., 1] = 250  # of Display P3: outside sRGB
    Image.fromarray(green).save(tmp_path / "in.png", icc_profile=display_p3())
    photo = open_photo(tmp_path / "in.png")
    assert photo.rgb.getpixel((0, 0))[0] == 0
    lighter = np.asarray(photo.rgb).copy()
    lighter[FACE][..., 2] += 9
    save_photo(Image.fromarray(lighter), tmp_path / "out.png", like=photo)
    after = stored(tmp_path / "out.png")
    np.testing.assert_array_equal(after[OUTSIDE], green[OUTSIDE])
    assert (after[FACE][..., 1] >= 248).all()  # by way of sRGB it would have become 240
    assert after[FACE][..., 2].min() > 0


def srgb_of_grey(value: int, gamma: float) -> float:
    """The closed form: sRGB's transfer function of a light that is ``value`` to the power of ``gamma``."""
    light = (value / 255) ** gamma
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_grey_with_a_grey_profile(tmp_path: Path, mode: str, gamma: float) -> None:
    value = 255 if mode == "1" else 128
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 4), value * 257, np.uint16))
    else:
        image = Image.new("L", (4, 4), value).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=grey(gamma))
    shown = np.unique(np.asarray(load_image(tmp_path / "a.png")))
    np.testing.assert_allclose(shown, srgb_of_grey(value, gamma), atol=1.5)


def test_a_grey_picture_with_an_rgb_profile_is_read_by_it(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 128).save(tmp_path / "a.png", icc_profile=display_p3(1.0))
    np.testing.assert_allclose(np.asarray(load_image(tmp_path / "a.png")), srgb_of_grey(128, 1.0), atol=1.5)


@pytest.mark.parametrize(
    ("mode", "profile", "reason"),
    [("RGB", b"no profile", "it is damaged"), ("RGB", grey(2.2), "it is for L, and the picture is RGB"),
     ("RGB", display_p3()[:200], ""), ("CMYK", display_p3(), "it is for RGB, and the picture is CMYK")],
)  # fmt: skip
def test_a_profile_that_does_not_serve_is_said(tmp_path: Path, mode: str, profile: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    Image.new(mode, (8, 8), (90,) * len(mode)).save(path, icc_profile=profile)
    with pytest.warns(UserWarning, match=rf"profile of '.*a\.jpg' cannot be used \({reason}.*taken for sRGB"):
        load_image(path)


def test_srgb_is_known_by_its_values_not_by_its_name(tmp_path: Path) -> None:
    linear = display_p3(1.0).replace(b"Wide", b"sRGB")
    Image.new("RGB", (4, 4), (128, 128, 128)).save(tmp_path / "linear.png", icc_profile=linear)
    np.testing.assert_allclose(np.asarray(load_image(tmp_path / "linear.png")), srgb_of_grey(128, 1.0), atol=1.5)
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = noise(3)
    Image.fromarray(values).save(tmp_path / "same.png", icc_profile=same)
    photo = open_photo(tmp_path / "same.png")
    assert photo.samples is None
    np.testing.assert_array_equal(np.asarray(photo.rgb), values)
    save_photo(None, tmp_path / "out.png", like=photo)
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == same


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("deep", [False, True])
def test_turned_photos_are_written_upright_once(tmp_path: Path, orientation: int, deep: bool) -> None:
    values = noise(3, np.uint16 if deep else np.uint8)
    found = Image.Exif()
    found.load(exif())
    found[274] = orientation
    if deep:
        write_png(tmp_path / "in.png", values, chunks=[(b"eXIf", found.tobytes().removeprefix(b"Exif\0\0"))])
    else:
        Image.fromarray(values).save(tmp_path / "in.png", exif=found, dpi=(100, 200))
    expected = np.rot90(values, {3: 2, 6: -1, 8: 1}[orientation])
    photo = open_photo(tmp_path / "in.png")
    save_photo(None, tmp_path / "out.png", like=photo)
    again = open_photo(tmp_path / "out.png")
    after = again.samples.values if deep else np.asarray(again.rgb)  # type: ignore[union-attr]
    np.testing.assert_array_equal(after, expected)
    with Image.open(tmp_path / "out.png") as image:
        assert image.getexif()[274] == 1
        inner = image.getexif().get_ifd(34665)
        assert (inner[40962], inner[40963]) == image.size
        if not deep and orientation != 3:
            np.testing.assert_allclose(image.info["dpi"], (200, 100), atol=0.1)


def test_the_thumbnail_of_the_unedited_face_does_not_go_along(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    thumb = stream.getvalue()
    # IFD0 with the maker, then IFD1 with a thumbnail, written by hand: Pillow writes none
    head = b"Exif\0\0II*\0" + (8).to_bytes(4, "little")
    maker = (1).to_bytes(2, "little") + b"\x0f\x01\x02\0\x03\0\0\0Me\0\0" + (26).to_bytes(4, "little")
    place = 26 + 2 + 24 + 4
    second = (2).to_bytes(2, "little")
    second += b"\x01\x02\x04\0\x01\0\0\0" + place.to_bytes(4, "little")
    second += b"\x02\x02\x04\0\x01\0\0\0" + len(thumb).to_bytes(4, "little") + bytes(4)
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", exif=head + maker + second + thumb)
    assert (tmp_path / "in.jpg").read_bytes().count(b"\xff\xd8\xff") == 2
    save_photo(None, tmp_path / "out.jpg", like=open_photo(tmp_path / "in.jpg"))
    assert (tmp_path / "out.jpg").read_bytes().count(b"\xff\xd8\xff") == 1
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[271] == "Me"


def test_xmp_goes_along(tmp_path: Path) -> None:
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a/></x:xmpmeta>"
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", xmp=packet)
    photo = open_photo(tmp_path / "in.jpg")
    for suffix in ("jpg", "png", "webp", "tif", "avif"):
        save_photo(None, tmp_path / f"out.{suffix}", like=photo)
        assert open_photo(tmp_path / f"out.{suffix}").info.xmp == packet, suffix


def test_broken_exif_is_left_out_and_does_not_stop_the_photo(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0garbage")
    photo = open_photo(tmp_path / "in.jpg")
    save_photo(None, tmp_path / "out.jpg", like=photo)
    assert load_image(tmp_path / "out.jpg").size == (WIDTH, HEIGHT)


def test_palette_and_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(noise(3)).quantize(40)
    colours = np.asarray(image.convert("RGB"))
    image.save(tmp_path / "in.png", transparency=int(np.asarray(image)[0, 0]))
    photo = open_photo(tmp_path / "in.png")
    save_photo(edited(photo.rgb), tmp_path / "out.png", like=photo)
    after = stored(tmp_path / "out.png")
    assert after.shape[2] == 4
    assert after[0, 0, 3] == 0
    opaque = OUTSIDE & (after[..., 3] > 0)
    np.testing.assert_array_equal(after[opaque][:, :3], colours[opaque])


@pytest.mark.parametrize(
    ("mode", "suffix", "lost"),
    [("RGBA", "jpg", "transparency"), ("RGB16", "jpg", "16 bits a colour"), ("P3", "bmp", "colour space"),
     ("CMYK", "png", "colour space"), ("RGB16", "webp", "16 bits a colour")],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, mode: str, suffix: str, lost: str) -> None:
    path = tmp_path / "in.tif"
    if mode == "RGB16":
        write_png(path := tmp_path / "in.png", noise(3, np.uint16), chunks=())
    elif mode == "P3":
        Image.fromarray(noise(3)).save(path, icc_profile=display_p3())
    else:
        profile: dict[str, Any] = {"icc_profile": press()} if mode == "CMYK" else {}
        Image.frombytes(mode, (WIDTH, HEIGHT), noise(4).tobytes()).save(path, **profile)
    photo = open_photo(path)
    with pytest.warns(UserWarning, match=rf"A \.{suffix} file does not hold the photo's {lost}; a \.tif file does\."):
        save_photo(None, tmp_path / f"out.{suffix}", like=photo)
    limit = 0 if suffix in ("bmp", "png", "webp") else 40
    shown = np.asarray(load_image(tmp_path / f"out.{suffix}")).astype(int)
    assert np.abs(shown - np.asarray(photo.rgb)).max() <= limit


def test_a_picture_of_another_size_is_no_new_version(tmp_path: Path) -> None:
    photo = open_photo(noise(3))
    with pytest.raises(ImageError, match=r"5 x 5 pixels is no new version of a photo of 30 x 20"):
        save_photo(Image.new("RGB", (5, 5)), tmp_path / "out.png", like=photo)
    assert list(tmp_path.iterdir()) == []


def test_colours_far_from_the_face_survive_jpeg(tmp_path: Path) -> None:
    lettering = np.full((64, 64, 3), 255, np.uint8)
    lettering[::4, :, 1:] = 0  # thin red lines: 4:2:0 would smear them
    photo = open_photo(lettering)
    save_photo(None, tmp_path / "out.jpg", like=photo)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.layer[0][1:3] == (1, 1)  # 4:4:4
        assert np.abs(np.asarray(image).astype(int) - lettering).max() <= 12


def test_quality(tmp_path: Path) -> None:
    photo = open_photo(noise(3))
    sizes = []
    for quality in (30, 90, 100):
        save_photo(None, tmp_path / "out.jpg", like=photo, quality=quality)
        sizes.append((tmp_path / "out.jpg").stat().st_size)
    assert sizes == sorted(set(sizes))
    save_photo(None, tmp_path / "lossy.webp", like=photo, quality=40)
    assert np.abs(stored(tmp_path / "lossy.webp").astype(int) - noise(3)).max() > 0
    for name, quality, text in (
        ("a.jpg", "lossless", r"A \.jpg file cannot be lossless"),
        ("a.png", 90, r"A \.png file loses nothing, so it has no quality 90"),
        ("a.jpg", 0, "A quality of 0 is none"),
        ("a.xyz", None, "does not say what kind of picture"),
    ):
        with pytest.raises(OutputError, match=text):
            save_photo(None, tmp_path / name, like=photo, quality=quality)  # type: ignore[arg-type]
