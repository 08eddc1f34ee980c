"""Writing pictures: by the suffix's format, with all that the format can hold, whole or not at all."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin

from latentedit.errors import OutputError
from latentedit.files import atomic_path
from latentedit.images.deep import write_png, write_tiff
from latentedit.images.info import tiff_tags
from latentedit.images.opener import add_heif
from latentedit.images.photo import Photo, PhotoInfo, Samples, as_image, to_8_bits

Quality = int | Literal["lossless"] | None
"""1 to 100 of a lossy format, "lossless", or None: lossless where the format can be, else 95."""

_BEST = 95
_MARKER = 65_000  # bytes of EXIF or XMP that fit into a JPEG


@dataclass(frozen=True)
class Format:
    """What a file format holds: ``spaces`` of colours, those that can have ``alpha``, up to ``depth`` bits a sample, a
    colour ``profile``, and EXIF, XMP or resolution (``info``); whether it is ``lossy`` never, always, or as one
    likes."""

    spaces: tuple[str, ...]
    alpha: tuple[str, ...] = ()
    depth: int = 8
    profile: bool = False
    info: tuple[str, ...] = ()
    lossy: Literal["never", "always", "either"] = "never"


_ALL = ("exif", "xmp", "dpi")
_PLAIN = Format(("RGB",))
FORMATS = {
    "PNG": Format(("L", "RGB"), ("L", "RGB"), 16, True, _ALL),
    "TIFF": Format(("L", "RGB", "CMYK"), ("L", "RGB"), 32, True, _ALL),
    "JPEG": Format(("L", "RGB", "CMYK"), (), 8, True, _ALL, "always"),
    "WEBP": Format(("RGB",), ("RGB",), 8, True, ("exif", "xmp"), "either"),
    "AVIF": Format(("RGB",), ("RGB",), 8, True, ("exif", "xmp"), "always"),
    "HEIF": Format(("RGB",), ("RGB",), 8, True, ("exif", "xmp"), "always"),
    "JPEG2000": Format(("L", "RGB"), ("L", "RGB")),
    "BMP": Format(("L", "RGB"), info=("dpi",)),
    "GIF": Format(("L", "RGB"), ("RGB",), lossy="always"),
}


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Make sure, before the work and not after it, that ``path`` names a format for pictures.

    Raises:
        OutputError: it does not.
    """
    if _format_name(path) is None:
        raise OutputError(
            f"{os.fspath(path)!r} does not say what kind of picture to write.", "End it in .png, .jpg, .webp, or .tif."
        )


def check_quality(path: str | os.PathLike[str], quality: Quality) -> None:
    """Make sure that the format of ``path`` can be written with ``quality``.

    Raises:
        OutputError: a number outside 1 to 100, a number for a format that loses nothing, or "lossless" for one that
            always loses something.
    """
    check_suffix(path)
    suffix, lossy = Path(path).suffix, _format(path).lossy
    if quality == "lossless":
        if lossy == "always":
            raise OutputError(f"A {suffix} file cannot be lossless.", "Write .png, .tif, or .webp.")
    elif quality is not None:
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            raise OutputError(f"A quality of {quality!r} is none.", "Choose 1 to 100, or lossless.")
        if lossy == "never":
            raise OutputError(
                f"A {suffix} file loses nothing, so it has no quality {quality}.",
                "Write .jpg, .webp, or .avif for a smaller file.",
            )


def save_image(image: Image.Image, path: str | os.PathLike[str], *, quality: Quality = None) -> None:
    """Write an sRGB (or grey) image, the format by the suffix of ``path``, whole or not at all.

    Raises:
        OutputError: a suffix that names no format for pictures, a quality that the format does not know, or a place
            that cannot be written to.
    """
    check_quality(path, quality)
    image = image if image.mode in ("L", "RGB", "RGBA", "LA") else image.convert("RGB")
    _write(image, path, quality, None, PhotoInfo())


def save_photo(
    image: Image.Image | None, path: str | os.PathLike[str], *, like: Photo, quality: Quality = None
) -> None:
    """Write the photo ``like``, showing the rendition ``image`` (None: its own), the format by the suffix of ``path``.

    Its own samples are written, changed where the rendition was, in their colour space and depth, with transparency,
    colour profile, EXIF (upright), XMP and resolution, as far as the format holds them; what it does not hold is warned
    of.

    Raises:
        ImageError: an image of another size than the photo's. OutputError: as `save_image`.
    """
    check_quality(path, quality)
    photo = like if image is None else like.with_rgb(image)
    kind = _format(path)
    fitting = fit(photo, kind)
    if fitting.lost:
        suffix, lost = Path(path).suffix, " and ".join(fitting.lost)
        warnings.warn(f"A {suffix} file does not hold the photo's {lost}; a .tif file does.", stacklevel=2)
    if fitting.samples is None:
        image = photo.rgb
    elif kind is FORMATS["TIFF"] or fitting.samples.deep:
        _write_samples(fitting.samples, path, fitting.profile, photo.info)
        return
    else:
        samples = fitting.samples
        image = as_image(samples.values, samples.space + ("A" if samples.alpha else ""))
    _write(image, path, quality, fitting.profile, photo.info)


@dataclass(frozen=True)
class Fitting:
    """What a format takes of a photo: ``samples`` (None: the rendition), their ``profile``, and what is ``lost``."""

    samples: Samples | None
    profile: bytes | None
    lost: tuple[str, ...] = ()


def fit(photo: Photo, kind: Format) -> Fitting:
    """The most of ``photo`` that ``kind`` holds."""
    own, colour = photo.samples, photo.colour
    if own is None:
        return Fitting(None, colour.embedded if kind.profile else None)
    native = own.space in (kind.alpha if own.alpha else kind.spaces) and (kind.profile or colour.neutral)
    if native:
        samples, profile = _shallower(own, kind), colour.embedded
    elif own.alpha and "RGB" in kind.alpha:  # the rendition, but not yet over white
        shown = np.asarray(colour.to_srgb(own.colours()))
        samples = Samples(np.dstack([shown, to_8_bits(own.values[..., -1:], own.white)]), "RGB", alpha=True)
        profile = None
    else:
        samples, profile = None, None
    lost = []
    if own.alpha and samples is None and bool((own.opacity() < 1).any()):
        lost.append("transparency")
    if own.deep and not (samples is not None and samples.deep):
        lost.append("16 bits a colour")
    if not native and own.space != "L" and not colour.neutral:
        lost.append("colour space")
    return Fitting(samples, profile, tuple(lost))


def _shallower(own: Samples, kind: Format) -> Samples:
    """``own`` in the depth that the format holds: any in TIFF, 16 bits in PNG, 8 elsewhere."""
    if not own.deep or kind.depth == 32:
        return own
    if kind.depth == 8:
        return Samples(to_8_bits(own.values, own.white), own.space, own.alpha)
    if own.values.dtype == np.uint16:
        return own
    full = np.clip(np.nan_to_num(own.values / own.white), 0, 1) * 65535
    return Samples(np.floor(full + 0.5).astype(np.uint16), own.space, own.alpha, white=65535.0)


def _write_samples(samples: Samples, path: str | os.PathLike[str], profile: bytes | None, info: PhotoInfo) -> None:
    """TIFF of any samples, PNG of 16-bit ones: what Pillow has no modes for."""
    with atomic_path(path) as temporary:
        if _format_name(path) == "TIFF":
            write_tiff(temporary, samples, tags=tiff_tags(info, profile))
        else:
            write_png(temporary, samples.values, chunks=png_chunks(info, profile))


def _write(
    image: Image.Image, path: str | os.PathLike[str], quality: Quality, profile: bytes | None, info: PhotoInfo
) -> None:
    name = _format_name(path)
    if name == "TIFF":
        samples = Samples(np.asarray(image).reshape(image.height, image.width, -1), *_space(image.mode))
        _write_samples(samples, path, profile, info)
        return
    options = _options(name or "", quality)
    kind = FORMATS.get(name or "", _PLAIN)
    if kind.profile:
        options["icc_profile"] = profile  # None too, lest Pillow take one that the image happens to hold
    for key in ("exif", "dpi", "xmp"):
        value = getattr(info, key)
        if key in kind.info and value and not (name == "JPEG" and key != "dpi" and len(value) > _MARKER):
            options[key] = value
    if name == "PNG" and "xmp" in options:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
        options["pnginfo"] = text
    with atomic_path(path) as temporary:
        image.save(temporary, name, **options)


def _space(mode: str) -> tuple[Any, bool]:
    return mode.removesuffix("A"), mode.endswith("A")


def _options(name: str, quality: Quality) -> dict[str, Any]:
    """What the encoder of a format is told."""
    value = quality if isinstance(quality, int) else _BEST
    if name == "JPEG":
        return {"quality": value, "subsampling": 0}  # 4:2:0 would smear colours far from the face
    if name in ("AVIF", "HEIF"):
        return {"quality": value} | ({"subsampling": "4:4:4"} if name == "AVIF" else {"chroma": 444})
    if name == "WEBP":  # lossy WebP is 4:2:0 always
        if isinstance(quality, int):
            return {"quality": quality, "method": 4}
        return {"lossless": True, "quality": 50, "method": 2, "exact": True}
    return {}


def png_chunks(info: PhotoInfo, profile: bytes | None) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file that say what ``info`` says; iCCP, pHYs, eXIf, iTXt."""
    chunks = []
    if profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if info.dpi:
        across, down = (round(one / 0.0254) for one in info.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if info.exif:
        chunks.append((b"eXIf", info.exif.removeprefix(b"Exif\0\0")))
    if info.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info.xmp))
    return chunks


def _format_name(path: str | os.PathLike[str]) -> str | None:
    """Pillow's name of the format that the suffix of ``path`` stands for; None where it can write none."""
    suffix = Path(path).suffix.lower()
    name = Image.registered_extensions().get(suffix)
    if name is None and suffix in (".heic", ".heif"):
        add_heif()
        name = Image.registered_extensions().get(suffix)
    return name if name in Image.SAVE else None


def _format(path: str | os.PathLike[str]) -> Format:
    return FORMATS.get(_format_name(path) or "", _PLAIN)
