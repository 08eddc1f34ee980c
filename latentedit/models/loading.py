"""`load_model` and `load_generator`: from the embedded model, a name, a folder, or a checkpoint file."""

from __future__ import annotations

import copy
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from latentedit.errors import ModelError
from latentedit.models.folder import MANIFEST, load_folder, read_manifest
from latentedit.models.locations import (
    BUNDLED,
    EMBEDDED,
    MODEL_VARIABLE,
    PACKAGED,
    bundled_folder,
    default_model,
    embedded_folder,
    models_folder,
)
from latentedit.models.model import Model
from latentedit.models.packaged import load_packaged, notice_fallback
from latentedit.models.parts import Deferred

if TYPE_CHECKING:
    from latentedit.networks import FacePerception, StyleEncoder, StyleGenerator
    from latentedit.networks.psp_encoder import PspEncoder

Source = str | os.PathLike[str] | None
ModelLike: TypeAlias = "Model | StyleGenerator | str | os.PathLike[str]"

_bundled: dict[tuple[str, torch.device], Model] = {}
_seeing: dict[tuple[str, torch.device], Model] = {}
_lock = threading.RLock()


def load_model(source: Source = None, *, device: str | torch.device = "cpu") -> Model:
    """A model: generator, and what it has of encoder, perception network, directions, crop template, and card.

    Args:
        source: None is the default model: "ffhq" where its weights are, else "faces64" (`default_model`). These two are
            kept for the life of the process, one per device. Else the name of a registered model, a model folder, or a
            checkpoint of any kind that `load_generator` reads.
        device: where the networks go.

    A model without a perception network of its own gets a copy of the embedded one's: it looks at aligned faces of any
    size, and at its own part of faces that are cropped by another template.

    Raises:
        ModelError: unknown name, unreadable file, or a damaged folder.
    """
    source = _chosen(source)
    if source == EMBEDDED:
        return _load_bundled(EMBEDDED, device)
    if source == PACKAGED:
        return _load_seeing(PACKAGED, torch.device(device))
    model = load_own_parts(source, device=device)
    for note in model.notes:
        warnings.warn(f"{os.fspath(source)}: {note}.", stacklevel=2)
    return with_perception(model, device)


def _load_seeing(name: str, device: torch.device) -> Model:
    with _lock:
        if (name, device) not in _seeing:
            _seeing[name, device] = with_perception(_load_bundled(name, device), device)
        return _seeing[name, device]


def with_perception(model: Model, device: str | torch.device = "cpu") -> Model:
    """``model`` with a perception network for its crops: its own, or else a copy of the embedded one's."""

    def see() -> FacePerception | None:
        own = model.perception
        if own is None:
            own = copy.deepcopy(_load_bundled(EMBEDDED, device).perception)
        return None if own is None else own.for_template(model.template.scale, model.template.shift)

    if not model.has("perception") and not (embedded_folder() / MANIFEST).is_file():
        return model
    seeing = copy.copy(model)  # unlike `dataclasses.replace`, this builds no part
    object.__setattr__(seeing, "perception", Deferred(see))
    return seeing


def as_model(model: ModelLike | None = None, device: str | torch.device | None = None) -> Model:
    """A `Model` as it is, a bare generator with what a bundled model lends it, or anything that `load_model` takes.

    A bundled model's generator has its other parts; any other is taken for one of FFHQ's crops, and is looked at by the
    embedded perception network. ``device`` (None: the CPU) is for what is loaded here.
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, torch.nn.Module):
        return load_model(model, device="cpu" if device is None else device)
    bare = Model(name="custom", generator=model)
    for name in BUNDLED:
        folder = bundled_folder(name)
        if (folder / MANIFEST).is_file() and read_manifest(folder).get("fingerprint") == bare.fingerprint:
            return replace(load_model(name, device=bare.device), generator=model)
    return with_perception(bare, bare.device)


def load_own_parts(source: Source = None, *, device: str | torch.device = "cpu") -> Model:
    """As `load_model`, with nothing lent by the embedded model: what there is to copy or convert."""
    source = _chosen(source)
    if source in BUNDLED:
        return _load_bundled(os.fspath(source), device)
    path = locate(source)
    return load_folder(path, device=device) if _is_own_folder(path) else _from_file(path, device)


def load_generator(source: Source = None, *, device: str | torch.device = "cpu") -> StyleGenerator:
    """The generator of ``source`` alone, on ``device``, in evaluation mode and without gradients.

    ``source`` is what `load_model` takes. The kind of a checkpoint is told by its content, not by its name: NVIDIA
    PyTorch pickles (StyleGAN2-ADA, StyleGAN3), TensorFlow pickles (StyleGAN 1, 2), rosinality ``.pt``, checkpoints of
    the pSp family, MobileStyleGAN (its authors' checkpoint; exported graphs as a folder, wheel, or one of their files),
    and own ``.safetensors``. No file is executed.

    Raises:
        ModelError: unknown name or unreadable file.
        UnsafeCheckpointError: a pickle that asks for more than plain weights.
    """
    return load_own_parts(source, device=device).generator


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder or file that ``source`` (a name, a folder, or a file) stands for.

    Raises:
        ModelError: nothing of that name.
    """
    text = os.fspath(source)
    path = Path(text)
    if text in BUNDLED:
        return bundled_folder(text)
    try:
        if path.exists():
            return path
        if Path(text).name == text:
            registered = models_folder() / text
            if (registered / MANIFEST).is_file():
                return registered
    except (OSError, ValueError) as error:  # an over-long name, an embedded null character
        raise ModelError(f"{text!r:.100} is no path: {error}.", None) from error
    known = ", ".join([*BUNDLED, *registered_names()])
    raise ModelError(
        f"There is no model {text!r}: neither a file, a folder, nor a registered name.",
        f"Registered models: {known}. Register another with `latentedit model add`.",
    )


def registered_names() -> list[str]:
    """Names of the models in the user's registry."""
    folder = models_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []


def _chosen(source: Source) -> str | os.PathLike[str]:
    """``source``, or the default model where it is None."""
    if source is not None:
        return source
    name = default_model()
    if name == EMBEDDED and not os.environ.get(MODEL_VARIABLE):
        notice_fallback()
    return name


def _load_bundled(name: str, device: str | torch.device) -> Model:
    key = name, torch.device(device)
    with _lock:
        if key not in _bundled:
            _bundled[key] = load_packaged(key[1]) if name == PACKAGED else _load_embedded(key[1])
        return _bundled[key]


def _load_embedded(device: torch.device) -> Model:
    folder = embedded_folder()
    if not (folder / MANIFEST).is_file():
        raise ModelError(
            f"The embedded model is missing from the installation ({str(folder)!r}).",
            "Install latentedit again, or name a model with `--model`.",
        )
    return load_folder(folder, device=device)


def _is_own_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, and none that a foreign checkpoint fills."""
    from latentedit.checkpoints.recognise import is_checkpoint_folder

    return path.is_dir() and ((path / MANIFEST).is_file() or not is_checkpoint_folder(path))


def _from_file(path: Path, device: str | torch.device) -> Model:
    """The model in a checkpoint of any kind; its name is that of the file."""
    from latentedit.checkpoints.recognise import is_safetensors, read_checkpoint
    from latentedit.files import read_metadata
    from latentedit.models.network_file import FORMAT, load_network
    from latentedit.networks.psp_encoder import PspEncoder

    if path.is_file() and is_safetensors(path):
        metadata = read_metadata(path)
        if metadata.get("format") == FORMAT:
            generator = load_network(path, kind="generator", device=device)
            return Model(
                name=path.stem,
                generator=generator,
                path=path,
                fingerprint=metadata["fingerprint"],
                mapping_fingerprint=metadata.get("mapping", ""),
            )
    checkpoint = read_checkpoint(path)
    origin = repr(str(path))
    generator = checkpoint.build_generator(origin).to(device)

    def encoder() -> StyleEncoder | None:
        try:
            built = checkpoint.build_encoder(origin)
        except ModelError as error:
            warnings.warn(f"{origin}: the encoder was left out: {error}", stacklevel=2)
            return None
        if isinstance(built, PspEncoder) and built.iterative:
            _render_average(built.to(device), generator)
        return None if built is None else built.to(device)

    deferred = None if checkpoint.encoder is None else Deferred(encoder)
    return Model(name=path.stem, generator=generator, encoder=deferred, path=path, notes=checkpoint.notes)


@torch.no_grad()
def _render_average(encoder: PspEncoder, generator: StyleGenerator) -> None:
    """Give a ReStyle encoder the image of the average latent, which its first pass compares the photo with."""
    from latentedit.images import resize

    image = generator.synthesis(encoder.latent_avg.unsqueeze(0))
    encoder.average_image.copy_(resize(image, encoder.config.resolution)[0])
