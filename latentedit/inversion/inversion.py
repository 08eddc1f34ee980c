"""`Inversion`: the code of a photo, with everything needed to render, edit, and paste it back.

Legend: ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.codes import Code, WeightDelta
from latentedit.codes.delta import adapted
from latentedit.errors import FaceError, FingerprintError, ImageError, LatentError
from latentedit.faces import AlignedFace, CropTemplate, paste_back
from latentedit.files import check_suffix
from latentedit.images import ImageSource, load_image, to_pil
from latentedit.inversion.latent_files import load_latents
from latentedit.inversion.reference import PhotoReference
from latentedit.inversion.storage import (
    code_of,
    code_tensors,
    damaged,
    picture_of,
    pixels_of,
    read_archive,
    write_archive,
)
from latentedit.latents import check_ws, save_ws
from latentedit.models import Model
from latentedit.networks import StyleGenerator, fingerprint


@dataclass(frozen=True, eq=False)
class Inversion:
    """A photo's face as a latent of one generator.

    ``code`` is that latent, of one row, with its noise and weight change (``ws``, ``noise`` and ``delta`` are short
    for its parts); ``image`` is what it renders to and ``target`` the crop that was inverted, both RGB RxR; ``metrics``
    compares the two ("mse" on [-1,1], "ssim", "perceptual", "identity" as a cosine); ``aligned`` is where the face lies
    in its photo, None where a crop was given; ``fingerprint`` names the generator's weights, ``model`` the model;
    ``settings`` is what was asked for and how many steps it took.
    """

    code: Code
    image: Image.Image
    target: Image.Image
    metrics: dict[str, float]
    fingerprint: str
    model: str
    settings: dict[str, Any]
    aligned: AlignedFace | None = None
    photo: PhotoReference | None = None

    @property
    def ws(self) -> Tensor:
        """The latent [1,L,D]."""
        return self.code.ws

    @property
    def noise(self) -> Mapping[str, Tensor]:
        """Noise maps [1,1,r,r] by name; empty where the generator's stored ones serve."""
        return self.code.noise

    @property
    def delta(self) -> WeightDelta:
        """The low-rank change of the generator's weights; empty where there is none."""
        return self.code.deltas[0] if self.code.deltas else {}

    def check(self, generator: StyleGenerator | Model) -> None:
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

    def adapted(self, generator: StyleGenerator | Model) -> StyleGenerator:
        """The generator that renders this inversion: with its weight delta, if it has one."""
        return adapted(generator_of(generator), self.delta)

    def render(self, generator: StyleGenerator | Model, ws: Tensor | None = None) -> Image.Image:
        """Render the latent, or an edited ``ws`` [1,L,D], with this inversion's noise and weights.

        Raises:
            FingerprintError: a generator that this inversion does not belong to.
        """
        self.check(generator)
        code = self.code if ws is None else replace(self.code, ws=ws, anchor=None)
        return to_pil(code.render(generator_of(generator)))[0]

    def face_in_photo(self, photo: ImageSource | None = None) -> AlignedFace:
        """Where the face lies, with its photo: the one given, else the one kept or referred to.

        Raises:
            FaceError: the inversion was made of a crop that has no photo.
            ImageError: the photo is gone, was changed, or was never kept.
        """
        if self.aligned is None:
            raise FaceError(
                "This inversion was made of a crop, so there is no photo to paste into.",
                "Use .image.",
                typed="Use --crop.",
            )
        if photo is not None:
            return replace(self.aligned, photo=load_image(photo))
        if self.aligned.photo is not None:
            return self.aligned
        if self.photo is None:
            raise ImageError("This inversion kept no photo.", "Give it with photo=.", typed="Give it with --photo.")
        return replace(self.aligned, photo=self.photo.open())

    def paste_back(
        self, edited: Image.Image | Tensor | None = None, *, photo: ImageSource | None = None, **options: Any
    ) -> Image.Image:
        """The photo with ``edited`` (PIL image or tensor; the inversion itself where None) in place of its face.

        ``photo`` replaces a photo whose file is gone; ``options`` go to `latentedit.faces.paste_back`.

        Raises:
            FaceError: the inversion was made of a crop that has no photo.
            ImageError: the photo is gone or was changed.
        """
        return paste_back(self.face_in_photo(photo), self.image if edited is None else edited, **options)

    def save(self, path: str | os.PathLike[str], *, embed_photo: bool | None = None) -> None:
        """Write one ``.safetensors`` file; with suffix ``.npz`` only ``ws``, as stylegan2-ada's ``projected_w.npz``.

        The photo is referred to by path and hash; ``embed_photo=True`` puts it into the file, None does so where it has
        no file of its own, False never.

        Raises:
            OutputError: another suffix, or a place that cannot be written to.
        """
        check_suffix(path, (".safetensors", ".npz"), "an inversion")
        if Path(path).suffix.lower() == ".npz":
            save_ws(path, self.ws)
            return
        photo = self.photo.embedded() if self.photo is not None and embed_photo else self.photo
        tensors = {**code_tensors(self.code), "image": pixels_of(self.image), "target": pixels_of(self.target)}
        metadata = {
            "fingerprint": self.fingerprint,
            "model": self.model,
            "settings": json.dumps(self.settings),
            "metrics": json.dumps(self.metrics),
        }
        if self.aligned is not None:
            for name in ("quad", "landmarks"):
                tensors[name] = torch.from_numpy(np.array(getattr(self.aligned, name), dtype=np.float64))
            metadata["template"] = json.dumps(self.aligned.template.to_dict())
        if photo is not None and photo.data is not None and embed_photo is not False:
            tensors["photo"] = torch.frombuffer(bytearray(photo.data), dtype=torch.uint8)
        if photo is not None and photo.path is not None:
            metadata |= {"photo_path": photo.path, "photo_sha256": photo.sha256 or ""}
        write_archive(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], generator: StyleGenerator | Model | None = None) -> Inversion:
        """Read what `save` wrote; with ``generator`` (or a model), make sure that it is the right one.

        A file of latents alone (``projected_w.npz`` and the others that `load_latents` reads) must hold one latent, and
        needs ``generator``, which renders it.

        Raises:
            LatentError: not such a file, or a damaged one.
            FingerprintError: made with another generator.
        """
        if Path(path).suffix.lower() != ".safetensors":
            return _of_latent(path, generator)
        tensors, metadata = read_archive(path)
        try:
            inversion = _parse(tensors, metadata)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, LatentError) as error:
            raise damaged(path, error) from error
        if generator is not None:
            inversion.check(generator)
        return inversion


def fingerprint_of(generator: StyleGenerator | Model) -> str:
    """The fingerprint of a model (which knows it) or of a generator (which is hashed)."""
    return generator.fingerprint if isinstance(generator, Model) else fingerprint(generator)


def generator_of(generator: StyleGenerator | Model) -> StyleGenerator:
    """A model's generator, or the generator itself."""
    return generator.generator if isinstance(generator, Model) else generator


def _parse(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Inversion:
    target = picture_of(tensors["target"])
    aligned = photo = None
    if "quad" in tensors:
        template = CropTemplate.from_dict(json.loads(metadata["template"]))
        aligned = AlignedFace(target, tensors["quad"].numpy(), tensors["landmarks"].numpy(), template)
    data = tensors["photo"].numpy().tobytes() if "photo" in tensors else None
    if data is not None or "photo_path" in metadata:
        photo = PhotoReference(metadata.get("photo_path"), metadata.get("photo_sha256") or None, data)
    return Inversion(
        code=code_of(tensors),
        image=picture_of(tensors["image"]),
        target=target,
        metrics=json.loads(metadata["metrics"]),
        fingerprint=metadata["fingerprint"],
        model=metadata["model"],
        settings=json.loads(metadata["settings"]),
        aligned=aligned,
        photo=photo,
    )


def _of_latent(path: str | os.PathLike[str], generator: StyleGenerator | Model | None) -> Inversion:
    if generator is None:
        raise FingerprintError(f"{str(path)!r} does not say which generator it is of.", "Give it with generator=.")
    network = generator_of(generator)
    latents = load_latents(path)
    if len(latents) != 1:
        raise LatentError(f"{str(path)!r} holds {len(latents)} latents.", "Read them with load_latents.")
    code = Code(check_ws(next(iter(latents.values())), network.num_ws, network.w_dim))
    image = to_pil(code.render(network))[0]
    return Inversion(
        code=code, image=image, target=image, metrics={}, fingerprint=fingerprint_of(generator),
        model=generator.name if isinstance(generator, Model) else "", settings={"method": "loaded"},
    )  # fmt: skip
