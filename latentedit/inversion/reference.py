"""Where the photo of an inversion is."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from latentedit.errors import ImageError
from latentedit.images import load_image


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
        """Refer to a file that can be read."""
        return cls(str(Path(path).resolve()), hashlib.sha256(Path(path).read_bytes()).hexdigest())

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
        with Image.open(io.BytesIO(self._read() if self.data is None else self.data)) as image:
            return load_image(image)

    def _read(self) -> bytes:
        remedy = "Give the photo with photo=, or keep it inside with save(..., embed_photo=True)."
        try:
            data = Path(self.path or "").read_bytes()
        except OSError as error:
            raise ImageError(f"The photo {self.path!r} of this inversion cannot be read.", remedy) from error
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageError(f"The photo {self.path!r} has changed since it was inverted.", remedy)
        return data
