"""`load_model` and `load_generator`: from the embedded model, a name, a folder, or a checkpoint file."""

from __future__ import annotations

import copy
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from latentedit.errors import ModelError
from latentedit.models.locations import EMBEDDED, embedded_folder, models_folder, shipped_directions
from latentedit.models.model import MANIFEST, Model, load_folder
from latentedit.models.packaged import PACKAGED, load_packaged

Source = str | os.PathLike[str] | None

_embedded: dict[torch.device, Model] = {}
_lock = threading.Lock()


def load_model(source: Source = None, *, device: str | torch.device = "cpu") -> Model:
    """A model: generator, and what it has of encoder, perception network, directions, crop template, and card.

    Args:
        source: None or "faces64" is the embedded model (kept for the life of the process, one per device); else the
            name of a registered model, a model folder, or a checkpoint file of any kind that `load_generator` reads.
        device: where the networks go.

    A model without a perception network of its own gets a copy of the embedded one's: it looks at aligned faces of any
    size, and at its own part of faces that are cropped by another template.

    Raises:
        ModelError: unknown name, unreadable file, or a damaged folder.
    """
    if source is None or source == EMBEDDED:
        return _load_embedded(torch.device(device))
    model = load_own_parts(source, device=device)
    perception = model.perception
    if perception is None and (embedded_folder() / MANIFEST).is_file():
        perception = copy.deepcopy(_load_embedded(torch.device(device)).perception)
    if perception is None:
        return model
    return replace(model, perception=perception.for_template(model.template.scale, model.template.shift))


def load_own_parts(source: Source = None, *, device: str | torch.device = "cpu") -> Model:
    """As `load_model`, with nothing lent by the embedded model: what there is to copy or convert."""
    if source is None or source == EMBEDDED:
        return _load_embedded(torch.device(device))
    if source == PACKAGED:
        return load_packaged(device)
    path = locate(source)
    return load_folder(path, device=device) if path.is_dir() else _from_file(path, device)


def load_generator(source: Source = None, *, device: str | torch.device = "cpu") -> Any:
    """The generator of ``source`` alone, on ``device``, in evaluation mode and without gradients.

    ``source`` is what `load_model` takes. The kind of a checkpoint is told by its content, not by its name: NVIDIA
    PyTorch pickles (StyleGAN2-ADA, StyleGAN3), TensorFlow pickles (StyleGAN 1, 2), rosinality ``.pt``, checkpoints of
    the pSp family, and own ``.safetensors``. No file is executed.

    Raises:
        ModelError: unknown name or unreadable file.
        UnsafeCheckpointError: a pickle that asks for more than plain weights.
    """
    if source is None or source == EMBEDDED:
        return _load_embedded(torch.device(device)).generator
    if source == PACKAGED:
        return load_packaged(device).generator
    path = locate(source)
    if path.is_dir():
        return load_folder(path, device=device, only_generator=True).generator
    return _from_file(path, device).generator


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder or file that ``source`` (a name, a folder, or a file) stands for.

    Raises:
        ModelError: nothing of that name.
    """
    text = os.fspath(source)
    path = Path(text)
    if text == EMBEDDED:
        return embedded_folder()
    try:
        if path.exists():
            return path
        if Path(text).name == text:
            registered = models_folder() / text
            if (registered / MANIFEST).is_file():
                return registered
    except (OSError, ValueError) as error:  # an over-long name, an embedded null character
        raise ModelError(f"{text!r:.100} is no path: {error}.", None) from error
    known = ", ".join([EMBEDDED, *registered_names()])
    raise ModelError(
        f"There is no model {text!r}: neither a file, a folder, nor a registered name.",
        f"Registered models: {known}. Register another with `latentedit model add`.",
    )


def registered_names() -> list[str]:
    """Names of the models in the user's registry."""
    folder = models_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []


def _load_embedded(device: torch.device) -> Model:
    with _lock:
        if device not in _embedded:
            folder = embedded_folder()
            if not (folder / MANIFEST).is_file():
                raise ModelError(
                    f"The embedded model is missing from the installation ({str(folder)!r}).",
                    "Install latentedit again, or name a model with `--model`.",
                )
            model = load_folder(folder, device=device)
            _embedded[device] = replace(model, directions=shipped_directions() or model.directions)
        return _embedded[device]


def _from_file(path: Path, device: str | torch.device) -> Model:
    """The model in a checkpoint file of any kind; its name is that of the file."""
    from latentedit.checkpoints.recognise import is_safetensors, read_checkpoint
    from latentedit.files import read_metadata
    from latentedit.models.network_file import FORMAT, load_network

    if is_safetensors(path):
        metadata = read_metadata(path)
        if metadata.get("format") == FORMAT:
            generator = load_network(path, kind="generator", device=device)
            return Model(name=path.stem, generator=generator, path=path, fingerprint=metadata["fingerprint"])
    checkpoint = read_checkpoint(path)
    origin = repr(str(path))
    generator = checkpoint.generator.build(origin).to(device)
    encoder = None if checkpoint.encoder is None else checkpoint.encoder.build(origin).to(device)
    if getattr(getattr(encoder, "config", None), "iterative", False):
        _render_average(encoder, generator)
    return Model(name=path.stem, generator=generator, encoder=encoder, path=path)


@torch.no_grad()
def _render_average(encoder: Any, generator: Any) -> None:
    """Give a ReStyle encoder the image of the average latent, which its first pass compares the photo with."""
    from latentedit.images import resize

    image = generator.synthesis(encoder.latent_avg.unsqueeze(0))
    encoder.average_image.copy_(resize(image, encoder.config.resolution)[0])
