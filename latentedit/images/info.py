"""What a file says beside its pixels: EXIF, XMP, resolution."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

from PIL import Image, TiffImagePlugin

from latentedit.images.photo import PhotoInfo

_ORIENTATION, _WIDTH, _HEIGHT, _EXIF_IFD, _GPS_IFD = 274, 40962, 40963, 34665, 34853
_RESOLUTION = (282, 283, 296)

# What a TIFF says of how its pixels are stored, and what is carried by itself: of no use in the file that is written.
_STRUCTURE = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290}
_STRUCTURE |= {
    291,
    292,
    293,
    297,
    301,
    *range(317, 326),
    330,
    332,
    333,
    334,
    336,
    338,
    339,
    340,
    341,
    347,
    512,
    513,
    514,
}
_STRUCTURE |= {515, *range(517, 522), 529, 530, 531, 532, 559, 700, 33723, 34377, 34675, 37724, 50341}
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, OSError, SyntaxError, EOFError, struct.error, AttributeError)


def read_info(opened: Image.Image, upright: Image.Image) -> PhotoInfo:
    """EXIF, XMP and resolution of an ``opened`` picture, fitting its ``upright`` form; what is damaged is left out."""
    dpi = _dpi(opened.info.get("dpi"))
    turned = upright.size != opened.size or _orientation(opened) in (5, 6, 7, 8)
    return PhotoInfo(_exif(opened, upright.size), _xmp(upright), (dpi[1], dpi[0]) if dpi and turned else dpi)


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(*_DAMAGE):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _exif(image: Image.Image, size: tuple[int, int]) -> bytes | None:
    """The EXIF block for an upright picture of ``size``, without thumbnails: they would show what was edited away."""
    with contextlib.suppress(*_DAMAGE):
        found = image.getexif()
        kept = Image.Exif()
        for tag, value in found.items():
            if tag in (_EXIF_IFD, _GPS_IFD):
                kept[tag] = dict(found.get_ifd(tag))
            elif tag not in _STRUCTURE and tag not in _RESOLUTION and tag != _ORIENTATION:
                kept[tag] = value
        if not kept:
            return None
        kept[_ORIENTATION] = 1
        inner: Any = kept.get(_EXIF_IFD)
        if isinstance(inner, dict):
            inner |= {tag: side for tag, side in zip((_WIDTH, _HEIGHT), size, strict=True) if tag in inner}
        return _packed(kept)
    return None


def _packed(exif: Image.Exif) -> bytes:
    """The block as bytes; entries that cannot be written (makers break the rules) are left out one by one."""
    with contextlib.suppress(*_DAMAGE):
        return exif.tobytes()
    for group in (exif, *(value for value in exif.values() if isinstance(value, dict))):
        for tag in list(group):
            alone = Image.Exif()
            alone[tag] = group[tag]
            try:
                alone.tobytes()
            except _DAMAGE:
                del group[tag]
    return exif.tobytes()


def _xmp(image: Image.Image) -> bytes | None:
    value = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) and value else None


def _dpi(value: Any) -> tuple[float, float] | None:
    with contextlib.suppress(*_DAMAGE, ZeroDivisionError):
        across, down = (float(one) for one in value)
        if all(math.isfinite(one) and 1 <= one <= 1e6 for one in (across, down)):
            return across, down
    return None


def tiff_tags(info: PhotoInfo, profile: bytes | None) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The entries of a TIFF directory that say the same as ``info``."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if info.exif:
        exif = Image.Exif()
        exif.load(info.exif)
        for tag in exif:
            tags[tag] = dict(exif.get_ifd(tag)) if tag in (_EXIF_IFD, _GPS_IFD) else exif[tag]
            if tag in (_EXIF_IFD, _GPS_IFD):
                tags.tagtype[tag] = 4
    if info.dpi:
        tags[282], tags[283], tags[296] = *info.dpi, 2
    if info.xmp:
        tags[700] = info.xmp
        tags.tagtype[700] = 1
    if profile:
        tags[34675] = profile
        tags.tagtype[34675] = 7
    return tags
