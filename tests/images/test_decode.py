"""Decoding of photos, and the tensor convention. Reference values are the pixels that the files were made of."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from latentedit.errors import ImageError, OutputError
from latentedit.images import load_image, resize, save_image, to_pil, to_tensor, to_uint8

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 20), np.arange(0, 160, 20)), -1).astype(np.uint8)
RGB = np.dstack([RAMP, 255 - RAMP[..., 0]])  # [8,12,3]


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_path_stream_image_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    path = saved(Image.fromarray(RGB), tmp_path / "a.png")
    for source in (path, str(path), io.BytesIO(path.read_bytes()), Image.open(path), RGB):
        np.testing.assert_array_equal(np.asarray(load_image(source)), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1), 7: RGB[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(RGB, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(load_image(path)), RGB)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[0, 0] = (10, 20, 30, 0)
    rgba[0, 1] = (0, 100, 200, 51)  # 20 % of it, 80 % white
    pixels = np.asarray(load_image(saved(Image.fromarray(rgba), tmp_path / "a.png")))
    np.testing.assert_array_equal(pixels[0, 0], (255, 255, 255))
    np.testing.assert_allclose(pixels[0, 1], (204, 224, 244), atol=1)
    np.testing.assert_array_equal(pixels[1:], RGB[1:])


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    pixels = np.asarray(load_image(saved(image, tmp_path / "a.png", transparency=1)))
    assert pixels.tolist() == [[[200, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "value"), [("L", 128), ("LA", (128, 255)), ("1", 1), ("P", 0)])
def test_modes_become_rgb(tmp_path: Path, mode: str, value: object) -> None:
    image = load_image(saved(Image.new(mode, (3, 2), value), tmp_path / "a.png"))
    assert (image.mode, image.size) == ("RGB", (3, 2))
    expected = {"L": 128, "LA": 128, "1": 255, "P": 0}[mode]
    assert np.unique(np.asarray(image)).tolist() == [expected]


def test_cmyk(tmp_path: Path) -> None:
    image = load_image(saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / "a.jpg", quality=100))
    np.testing.assert_allclose(np.asarray(image)[4, 4], (0, 255, 255), atol=3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_scale(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    pixels = np.asarray(load_image(saved(Image.fromarray(deep), tmp_path / f"a{suffix}")))
    assert pixels[..., 0].tolist() == [[0, 100, 255]]


def test_dark_16_bit_photo_stays_dark(tmp_path: Path) -> None:
    deep = np.full((2, 2), 200, np.uint16)  # 0.3 % of full scale
    assert np.asarray(load_image(saved(Image.fromarray(deep), tmp_path / "a.png"))).max() <= 1


def test_float_tiff(tmp_path: Path) -> None:
    pixels = np.asarray(load_image(saved(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), tmp_path / "a.tif")))
    assert pixels[..., 0].tolist() == [[0, 128, 255]]


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_embedded_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    same = load_image(saved(Image.fromarray(RGB), tmp_path / "same.png", icc_profile=lab.tobytes()))
    np.testing.assert_array_equal(np.asarray(same), RGB)  # sRGB already: not one bit changes


def test_callers_image_is_not_changed() -> None:
    image = Image.fromarray(RGB)
    load_image(image).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(image), RGB)


def huge_header(path: Path, side: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [16_000, 30_000])
def test_huge_headers_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    with pytest.raises(
        ImageError, match=r"the limit is 250 million\. Scale the photo down first, or raise max_pixels\."
    ):
        load_image(huge_header(tmp_path / "a.png", side))


def test_pixel_limit_is_an_argument(tmp_path: Path) -> None:
    path = saved(Image.fromarray(RGB), tmp_path / "a.png")
    assert load_image(path, max_pixels=96).size == (12, 8)
    with pytest.raises(ImageError, match="12 x 8 pixels"):
        load_image(path, max_pixels=95)


def test_text_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match=r"a\.jpg' is not an image that can be read\. Give a JPEG"):
        load_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    noise = np.random.RandomState(0).randint(0, 255, (64, 64, 3), np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"damaged or cut short|cannot be read|not an image"):
        load_image(path)


def test_missing_file_folder_and_wrong_arrays(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match=r"dtype float32 .* uint8"):
        load_image(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ImageError, match=r"shape \(4, 4, 2\)"):
        load_image(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ImageError, match=r"shape \(0, 4, 3\)"):
        load_image(np.zeros((0, 4, 3), np.uint8))


def test_tensor_range_and_way_back() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.dstack([values, values.T, values[::-1]])
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)
    assert np.abs(to_uint8(tensor)[0].astype(int) - image).max() <= 1  # 127.5 down, 128 back: the field's convention
    assert np.asarray(to_pil(tensor)[0]).shape == (16, 16, 3)


def test_to_uint8_is_the_fields_formula() -> None:
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.999, 1.0, 3.0]).view(1, 1, 1, 7).expand(1, 3, 1, 7)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 64, 128, 255, 255, 255]
    with pytest.raises(ImageError, match=r"shape \(1, 2, 4, 4\)"):
        to_uint8(torch.zeros(1, 2, 4, 4))


def test_batches() -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    assert to_tensor([RGB, small], size=4).shape == (2, 3, 4, 4)
    assert to_tensor(np.stack([small, small])).shape == (2, 3, 8, 8)
    with pytest.raises(ImageError, match=r"different sizes"):
        to_tensor([RGB, small])
    with pytest.raises(ImageError, match="no images"):
        to_tensor([])


def test_resize_averages_whole_factors_and_is_differentiable() -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    expected = image.reshape(1, 3, 2, 4, 2, 4).mean((3, 5))
    torch.testing.assert_close(resize(image, 2), expected)
    assert torch.autograd.gradcheck(lambda x: resize(x, (3, 5)), image)
    assert resize(image, 8) is image


def test_save_image(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "sub/a.webp"):
        save_image(Image.fromarray(RGB), tmp_path / name)
        assert load_image(tmp_path / name).size == (12, 8)
    with pytest.raises(OutputError, match=r"a\.xyz' does not say what kind of picture"):
        save_image(Image.fromarray(RGB), tmp_path / "a.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png", "sub"]
