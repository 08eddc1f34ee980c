"""Photos and image tensors: decoding of anything Pillow reads, and the one tensor convention of the library.

Shape legend: ``N`` images, ``H`` x ``W`` pixels. Tensors are float32 ``[N,3,H,W]`` in [-1,1], RGB; ``uint8`` images are
``[N,H,W,3]``, and value ``v`` of a tensor becomes ``clamp(v * 127.5 + 128, 0, 255)``.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from latentedit.errors import ImageError, OutputError
from latentedit.files import atomic_path

if TYPE_CHECKING:
    import torch

ImageSource: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray"

MAX_PIXELS = 100_000_000
"""Photos with more pixels than this are refused before anything of them is decoded."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photo to 8-bit sRGB, upright.

    EXIF rotation is applied, transparency is laid over white, palettes, CMYK, greyscale, 16-bit and float images are
    converted, an embedded colour profile is converted to sRGB, and of an animation the first frame is taken.

    Args:
        source: a path, a binary stream, a PIL image, or an array: uint8 ``[H,W,3]``, ``[H,W,4]`` or ``[H,W]``.
        max_pixels: the largest ``H * W`` that is accepted.

    Raises:
        ImageError: the file is missing, no image, damaged, or too large; or the array has no image's shape.
    """
    if isinstance(source, np.ndarray):
        return _flatten(_from_array(source))
    if isinstance(source, Image.Image):
        return _decode(source, "The image", max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large photos and odd metadata; the limit here decides
        if isinstance(source, (str, os.PathLike)):
            name, file = repr(os.fspath(source)), Path(source)
        else:
            name, file = repr(getattr(source, "name", "the stream")), source
        with _open(file, name, max_pixels) as image:
            return _decode(image, name, max_pixels)


def _decode(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    if image.width * image.height > max_pixels:
        raise _too_large(name, image.size, max_pixels)
    if not image.width or not image.height:
        raise ImageError(f"{name} has no pixels.", "Give an image with at least one pixel.")
    try:
        image.load()
        return _flatten(image)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError) as error:
        raise ImageError(
            f"{name} is damaged or cut short: {_reason(error)}.", "Save or download the photo again."
        ) from error


def _open(file: Path | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    try:
        return Image.open(file)
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {name}.", "Check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder.", "Name a photo inside it.") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, None, max_pixels) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read.", "Give a JPEG, PNG, WebP, TIFF, BMP, or GIF file."
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.", "Check the file.") from error


def _reason(error: BaseException) -> str:
    return (str(getattr(error, "strerror", None) or error) or type(error).__name__).rstrip(".")


def _too_large(name: str, size: tuple[int, int] | None, limit: int) -> ImageError:
    what = f"{size[0]} x {size[1]} pixels" if size else "far more pixels"
    return ImageError(f"{name} has {what}, and the limit is {limit / 1e6:.0f} million.", "Scale the photo down first.")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            f"An array of dtype {array.dtype} is not a photo.",
            "Give uint8 values, or turn a tensor into one (to_uint8).",
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"An array of shape {array.shape} is not a photo.", "Give [H,W,3], [H,W,4], or [H,W].")
    return Image.fromarray(array)


def _flatten(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB of any image that Pillow can decode; never the caller's own object."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    profile = image.info.get("icc_profile")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    elif image.mode == "CMYK" and profile:
        converted = _to_srgb(image, profile)
        if converted is not None:
            return converted
    rgb = image.convert("RGB")
    converted = _to_srgb(rgb, profile) if profile else None
    return rgb if converted is None else converted


def _from_deep(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits or floats: full scale is the type's, or 1 for floats that stay within it."""
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max())
    if image.mode == "F":
        full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0 if top <= 65535.0 else top
    else:
        full = 65535.0 if image.mode.startswith("I;16") or 255.0 < top <= 65535.0 else max(top, 255.0)
    grey = np.clip(values / full * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert by an embedded profile; None where it already is sRGB, does not fit the pixels, or cannot be read."""
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in (ImageCms.getProfileDescription(source) or "").lower():
            return None
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def to_tensor(images: ImageSource | Sequence[ImageSource], size: int | None = None) -> torch.Tensor:
    """Photos as one float32 tensor ``[N,3,H,W]`` in [-1,1].

    ``images`` is one image or several of the same size; with ``size`` each is scaled (antialiased) to ``size`` squared.
    A uint8 array ``[N,H,W,3]`` is taken as ``N`` images.

    Raises:
        ImageError: no images, images of different sizes, or one that cannot be read.
    """
    import torch

    several = cast("Sequence[ImageSource]", images if _is_several(images) else [images])
    arrays = [np.asarray(load_image(image)) for image in several]
    if not arrays:
        raise ImageError("There are no images.", "Give at least one.")
    shapes = sorted({array.shape for array in arrays})
    if size is None and len(shapes) > 1:
        raise ImageError(f"Images of different sizes {shapes} make no batch.", "Give size=.")
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0 for array in arrays]
    if size is not None:
        tensors = [resize(tensor, size).clamp(-1, 1) for tensor in tensors]
    return torch.cat(tensors)


def _is_several(images: object) -> bool:
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


def to_uint8(tensor: torch.Tensor) -> np.ndarray:
    """Tensor ``[N,3,H,W]`` or ``[3,H,W]`` in [-1,1] to uint8 ``[N,H,W,3]``; values outside are clamped.

    Raises:
        ImageError: not a tensor of that shape.
    """
    import torch

    batch = tensor[None] if tensor.ndim == 3 else tensor
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise ImageError(f"A tensor of shape {tuple(tensor.shape)} is no image.", "Give [N,3,H,W] or [3,H,W].")
    scaled = batch.detach().float().mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_pil(tensor: torch.Tensor) -> list[Image.Image]:
    """Tensor ``[N,3,H,W]`` or ``[3,H,W]`` in [-1,1] to ``N`` RGB images."""
    return [Image.fromarray(array) for array in to_uint8(tensor)]


def resize(tensor: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """Scale ``[N,C,H,W]`` to ``size`` (square, or height and width): antialiased, differentiable.

    Shrinking by a whole factor averages pixels (area); everything else is antialiased bicubic interpolation.
    """
    import torch.nn.functional as F

    height, width = (size, size) if isinstance(size, int) else size
    if tensor.shape[-2:] == (height, width):
        return tensor
    if tensor.shape[-2] % height == 0 and tensor.shape[-1] % width == 0:
        return F.avg_pool2d(tensor, (tensor.shape[-2] // height, tensor.shape[-1] // width))
    return F.interpolate(tensor, (height, width), mode="bicubic", align_corners=False, antialias=True)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Make sure, before the work and not after it, that ``path`` names a format for pictures.

    Raises:
        OutputError: it does not.
    """
    if Image.registered_extensions().get(Path(path).suffix.lower()) not in Image.SAVE:
        raise OutputError(
            f"{os.fspath(path)!r} does not say what kind of picture to write.", "End it in .png, .jpg, .webp, or .tif."
        )


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image, the format by the suffix of ``path``, whole or not at all.

    Raises:
        OutputError: a suffix that names no format for pictures, or a place that cannot be written to.
    """
    check_suffix(path)
    lossy = Path(path).suffix.lower() in (".jpg", ".jpeg", ".webp")
    options: dict[str, Any] = {"quality": 95} if lossy else {}
    with atomic_path(path) as temporary:
        image.save(temporary, **options)
