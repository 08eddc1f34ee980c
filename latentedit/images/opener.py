"""Opening a picture with Pillow: every format that it knows or that an extra adds, and clear words where none fits.

`PIL.Image.open` warns of and refuses large pictures by a limit that belongs to the whole process; here the caller's own
limit decides, so the formats that Pillow has registered are asked directly.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from latentedit.errors import ImageError, MissingExtraError
from latentedit.files import is_special

_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_RAW = (".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f")
_DNG_VERSION = 50706
_NO_PICTURES = {
    "EPS",
    "WMF",
    "MPEG",
    "BUFR",
    "GRIB",
    "HDF5",
}  # Pillow would start other programs for them, or reads none
_FORMATS = "Give a JPEG, PNG, WebP, TIFF, AVIF, HEIC, BMP, or GIF file."


@contextmanager
def open_image(file: Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """The picture in ``file``, recognised and not yet decoded. ``name`` is what errors call it.

    Raises:
        ImageError: no such file, no picture, a picture of a kind that is not read, or no regular file.
        MissingExtraError: a kind that an optional package reads.
    """
    if not isinstance(file, Path):
        yield _recognised(file, name, "")
        return
    with _stream(file, name) as stream:
        yield _recognised(stream, name, file.suffix.lower())


def _stream(file: Path, name: str) -> IO[bytes]:
    try:
        if is_special(file):
            raise ImageError(f"{name} is a pipe or a device, no file.", "Save the photo into a file first.")
        return file.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {name}.", "Check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder.", "Name a photo inside it.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {_reason(error)}.", "Check the file.") from error


def _recognised(stream: IO[bytes], name: str, suffix: str) -> Image.Image:
    stream.seek(0)
    prefix = stream.read(16)
    if suffix in _RAW:
        raise _camera_raw(name)
    _add_formats(prefix, name)
    tried: set[str] = set(_NO_PICTURES)
    for load in (Image.preinit, Image.init):
        load()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            try:
                image = _attempt(kind, stream, prefix)
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise ImageError(f"{name} cannot be read: {_reason(error)}.", "Check the file.") from error
            if image is not None:
                if _DNG_VERSION in getattr(image, "tag_v2", {}):
                    raise _camera_raw(name)
                return image
    raise ImageError(f"{name} is not an image that can be read.", _FORMATS)


def _attempt(kind: str, stream: IO[bytes], prefix: bytes) -> Image.Image | None:
    factory, accept = Image.OPEN[kind]
    accepted = accept(prefix) if accept else True
    if not accepted or isinstance(accepted, str):
        return None
    stream.seek(0)
    try:
        return factory(stream, "")
    except (SyntaxError, IndexError, TypeError, struct.error):  # what Pillow takes for another format
        return None


def _add_formats(prefix: bytes, name: str) -> None:
    """Let an optional package read what Pillow alone does not."""
    brand = prefix[8:12] if prefix[4:8] == b"ftyp" else b""
    if brand in _HEIF:
        try:
            add_heif()
        except MissingExtraError as error:
            if brand not in (b"mif1", b"msf1"):  # those may be AVIF, which Pillow reads
                raise MissingExtraError(f"{name} is a HEIC picture. {error.problem}", error.remedy) from error
    if brand in _AVIF:
        Image.init()
        if "AVIF" not in Image.OPEN:
            raise MissingExtraError(
                f"{name} is an AVIF picture, which this Pillow does not read.",
                'Run: pip install "pillow>=11.3", or save the photo as JPEG.',
            )
    if prefix[:2] == b"\xff\x0a" or prefix[4:8] == b"JXL ":
        try:
            import pillow_jxl  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError(
                f"{name} is a JPEG XL picture, which Pillow alone does not read.",
                "Run: pip install pillow-jxl-plugin, or save the photo as JPEG.",
            ) from error


def add_heif() -> None:
    """Let Pillow read and write HEIC.

    Raises:
        MissingExtraError: pillow-heif is not installed.
    """
    if "HEIF" in Image.OPEN:
        return
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "HEIC needs pillow-heif, which is not installed.", 'Run: pip install "latentedit[heif]", or use JPEG.'
        ) from error
    pillow_heif.register_heif_opener()


def _camera_raw(name: str) -> ImageError:
    return ImageError(
        f"{name} is a camera's raw file, which holds no finished picture.", "Develop it first, to TIFF or JPEG."
    )


def _reason(error: BaseException) -> str:
    return (str(getattr(error, "strerror", None) or error) or type(error).__name__).rstrip(".")
