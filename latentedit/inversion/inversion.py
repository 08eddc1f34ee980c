"""`Inversion`: the latent of a photo, with everything needed to render, edit, and paste it back.

Legend: ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from latentedit.errors import FaceError, FingerprintError, ImageError, LatentError
from latentedit.files import path_from_text, path_to_text
from latentedit.images import MAX_PIXELS, Photo, load_image, open_photo, to_pil
from latentedit.inversion.low_rank import WeightDelta, adapt

if TYPE_CHECKING:
    from latentedit.faces import AlignedFace


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
        remedy = "Give the photo with photo=, or keep it inside with save(..., embed_photo=True)."
        try:
            data = Path(path_from_text(self.path or "")).read_bytes()
        except OSError as error:
            raise ImageError(f"The photo {self.path!r} of this inversion cannot be read.", remedy) from error
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageError(f"The photo {self.path!r} has changed since it was inverted.", remedy)
        return data


@dataclass(frozen=True, eq=False)
class Inversion:
    """A photo's face as a latent of one generator.

    ``ws`` float32 [1,L,D]; ``noise`` maps [1,1,r,r] by name (empty: the generator's stored ones); ``image`` is what
    they render to and ``target`` the crop that was inverted, both RGB RxR; ``metrics`` compares the two ("mse" on
    [-1,1], "ssim", "perceptual", "identity" as a cosine); ``aligned`` is where the face lies in its photo, None where a
    crop was given; ``fingerprint`` names the generator's weights, ``model`` the model; ``settings`` is what was asked
    for and how many steps it took; ``delta`` is an optional low-rank change of the generator's weights.
    """

    ws: Tensor
    noise: dict[str, Tensor]
    image: Image.Image
    target: Image.Image
    metrics: dict[str, float]
    fingerprint: str
    model: str
    settings: dict[str, Any]
    aligned: AlignedFace | None = None
    photo: PhotoReference | None = None
    delta: WeightDelta = field(default_factory=dict)

    def check(self, generator: Any) -> None:
        """Make sure that ``generator`` (or a model) is the one that this latent belongs to.

        Raises:
            FingerprintError: it is another one.
        """
        actual = fingerprint_of(generator)
        if actual != self.fingerprint:
            raise FingerprintError(
                f"This inversion belongs to the generator {self.fingerprint} (model {self.model!r}), not to {actual}.",
                "Use that model, or invert the photo again with this one.",
            )

    def adapted(self, generator: Any) -> nn.Module:
        """The generator that renders this inversion: with its weight delta, if it has one."""
        return adapt(generator, self.delta)

    @torch.no_grad()
    def render(self, generator: Any, ws: Tensor | None = None) -> Image.Image:
        """Render the latent, or an edited ``ws`` [1,L,D], with this inversion's noise and weights.

        Raises:
            FingerprintError: a generator that this inversion does not belong to.
        """
        self.check(generator)
        return to_pil(render(self.adapted(generator), self.ws if ws is None else ws, self.noise))[0]

    def paste_back(self, edited: Any = None, *, photo: Any = None, **options: Any) -> Image.Image:
        """The photo with ``edited`` (PIL image or tensor; the inversion itself where None) in place of its face.

        ``photo`` replaces a photo whose file is gone; ``options`` go to `latentedit.faces.paste_back`.

        Raises:
            FaceError: the inversion was made of a crop that has no photo.
            ImageError: the photo is gone or was changed.
        """
        from latentedit.faces import paste_back

        if self.aligned is None:
            raise FaceError("This inversion was made of a crop, so there is no photo to paste into.", "Use .image.")
        aligned = self.aligned
        if photo is not None:
            aligned = replace(aligned, photo=load_image(photo))
        elif aligned.photo is None:
            if self.photo is None:
                raise ImageError("This inversion kept no photo.", "Give it with photo=.")
            aligned = replace(aligned, photo=self.photo.open())
        return paste_back(aligned, self.image if edited is None else edited, **options)

    def save(self, path: str | os.PathLike[str], *, embed_photo: bool | None = None) -> None:
        """Write one ``.safetensors`` file; with suffix ``.npz`` only ``ws``, as stylegan2-ada's ``projected_w.npz``.

        The photo is referred to by path and hash; ``embed_photo=True`` puts it into the file, None does so where it has
        no file of its own, False never.

        Raises:
            OutputError: the file cannot be written.
        """
        from latentedit.inversion.storage import save_inversion

        save_inversion(self, path, embed_photo=embed_photo)

    @classmethod
    def load(cls, path: str | os.PathLike[str], generator: Any = None) -> Inversion:
        """Read what `save` wrote; with ``generator`` (or a model), make sure that it is the right one.

        A file of latents alone (``projected_w.npz`` and the others that `load_latents` reads) must hold one latent, and
        needs ``generator``, which renders it.

        Raises:
            LatentError: not such a file, or a damaged one.
            FingerprintError: made with another generator.
        """
        from latentedit.inversion.storage import load_inversion

        return load_inversion(path, generator)


def fingerprint_of(generator: Any) -> str:
    """The fingerprint of a model (which knows it) or of a generator (which is hashed)."""
    known = getattr(generator, "fingerprint", None)
    if isinstance(known, str):
        return known
    from latentedit.networks import fingerprint

    return fingerprint(generator)


@torch.no_grad()
def render(generator: Any, ws: Tensor, noise: dict[str, Tensor]) -> Tensor:
    """One image [1,3,R,R] of one latent [1,L,D]; always in a batch of its own, so that it is the same every time."""
    if ws.shape[0] != 1:
        raise LatentError(f"ws has shape {tuple(ws.shape)}; one latent is rendered at a time.", None)
    device = next(generator.parameters()).device
    extra = {"noise": {name: value.to(device) for name, value in noise.items()}} if noise else {}
    return generator.synthesis(ws.to(device), noise_mode="const", **extra)
