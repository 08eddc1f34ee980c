"""Where the photo of an inversion is."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from latentedit.errors import ImageError
from latentedit.files import is_special, path_from_text, path_to_text
from latentedit.images import MAX_PIXELS, Photo, load_image, open_photo


@dataclass(frozen=True)
class PhotoReference:
    """Where the photo of an inversion is: ``path`` and the SHA-256 of that file, and ``data``, a file's bytes.

    ``data`` is None where the photo stays in its file, ``path`` is None where it never had one.
    """

    path: str | None = None
    sha256: str | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> PhotoReference:
        """Refer to a file that can be read; its path is text that every file can hold."""
        return cls(path_to_text(Path(path).resolve()), hashlib.sha256(Path(path).read_bytes()).hexdigest())

    @classmethod
    def of_image(cls, photo: Image.Image) -> PhotoReference:
        """Keep a photo that has no file, as lossless PNG."""
        stream = io.BytesIO()
        photo.save(stream, "PNG")
        return cls(data=stream.getvalue())

    def embedded(self) -> PhotoReference:
        """The same photo with its bytes inside.

        Raises:
            ImageError: the file is gone or was changed.
        """
        return self if self.data is not None else replace(self, data=self._read())

    def open(self) -> Image.Image:
        """The photo as `load_image` gives it.

        Raises:
            ImageError: the file is gone or was changed.
        """
        return load_image(self._stream())

    def open_photo(self, *, max_pixels: int = MAX_PIXELS) -> Photo:
        """The photo with all that it carries, as `latentedit.images.open_photo` gives it.

        Raises:
            ImageError: the file is gone or was changed, or has more than ``max_pixels``.
        """
        return open_photo(self._stream(), max_pixels=max_pixels)

    def _stream(self) -> io.BytesIO:
        return io.BytesIO(self._read() if self.data is None else self.data)

    def _read(self) -> bytes:
        path = path_from_text(self.path or "")
        try:
            if is_special(path):
                raise OSError("it is a pipe or a device")
            data = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            raise self._gone("of this inversion cannot be read") from error
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise self._gone("has changed since it was inverted")
        return data

    def _gone(self, how: str) -> ImageError:
        return ImageError(
            f"The photo {self.path!r} {how}.",
            "Give the photo with photo=, or keep it inside with save(..., embed_photo=True).",
            typed="Give the photo with --photo, or keep it inside with `latentedit invert --embed-photo`.",
        )
