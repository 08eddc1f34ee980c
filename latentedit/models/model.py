"""A model is a folder: generator, and beside it what the commands need to edit photos with it.

``model.json`` names the parts with their SHA-256, the resolution, the crop template and the licence; then come
``generator.safetensors``, optionally ``encoder.safetensors``, ``perception.safetensors`` and ``heads.safetensors``
(small pictures from inner features), ``MODEL_CARD.md``, and a folder ``directions/``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from latentedit.errors import LatentEditError, ModelError
from latentedit.faces import FFHQ, CropTemplate
from latentedit.files import atomic_path, read_metadata, read_tensors, save_tensors
from latentedit.models.locations import shipped_for, user_directions
from latentedit.models.network_file import load_network, save_network

if TYPE_CHECKING:
    from latentedit.networks.protocols import FacePerception, StyleEncoder, StyleGenerator

MANIFEST = "model.json"
CARD = "MODEL_CARD.md"
DIRECTIONS = "directions"
FOLDER_FORMAT = "latentedit-model"
PARTS = ("generator", "encoder", "perception", "heads")
_REMEDY = {
    "encoder": "Use `--method optimize`, or give the model one with `latentedit model add`.",
    "perception": "Give the model one with `latentedit model add`, or use the embedded model.",
    "directions": "Fit one with `latentedit-direction fit`, or import one with `latentedit-direction import`.",
    "card": "Write a MODEL_CARD.md into the model's folder.",
}


@dataclass(frozen=True)
class Model:
    """A generator with its companions, as `load_model` returns it.

    ``template`` is the crop that the generator was trained on, ``directions`` the folder of the directions that came
    with the model, ``user_directions`` the one where the user's own fits go (it may not exist yet). Networks are
    float32, in evaluation mode, without gradients. Models may be shared: change a copy of a network, not the network.
    """

    name: str
    generator: StyleGenerator
    encoder: StyleEncoder | None = None
    perception: FacePerception | None = None
    template: CropTemplate = FFHQ
    directions: Path | None = None
    card: str | None = None
    licence: str | None = None
    path: Path | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            from latentedit.networks import fingerprint

            object.__setattr__(self, "fingerprint", fingerprint(self.generator))

    @property
    def resolution(self) -> int:
        """Pixels along a side of the generator's images."""
        return self.generator.resolution

    @property
    def device(self) -> torch.device:
        """Where the generator's weights are."""
        return next(self.generator.parameters()).device

    @property
    def user_directions(self) -> Path:
        """Folder for the user's own directions of this generator; named by its fingerprint."""
        return user_directions(self.fingerprint)

    @property
    def direction_folders(self) -> tuple[Path, ...]:
        """Existing folders with directions of this model, the user's own first: their names win."""
        folders = (self.user_directions, self.directions)
        return tuple(folder for folder in folders if folder is not None and folder.is_dir())

    @overload
    def require(self, part: Literal["encoder"]) -> StyleEncoder: ...
    @overload
    def require(self, part: Literal["perception"]) -> FacePerception: ...
    @overload
    def require(self, part: Literal["directions"]) -> Path: ...
    @overload
    def require(self, part: Literal["card"]) -> str: ...
    def require(self, part: str) -> object:
        """The ``part`` ("encoder", "perception", "directions", "card"), or an error that tells how to get one.

        Raises:
            ModelError: the model has no such part.
        """
        value = getattr(self, part)
        if value is None:
            raise ModelError(f"The model {self.name!r} has no {part}.", _REMEDY.get(part))
        return value

    def to(self, device: str | torch.device) -> Model:
        """This model with its networks on ``device``; networks move in place, as PyTorch's modules do."""
        for network in (self.generator, self.encoder, self.perception):
            if network is not None:
                network.to(device)
        return self


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def save_model(folder: str | os.PathLike[str], model: Model, *, dtype: torch.dtype = torch.float32) -> Model:
    """Write ``model`` as a folder and return what loads from it.

    ``dtype`` float16 halves the files; the model that is returned has the rounded weights and their fingerprint.
    Directions are copied into ``directions/`` unless they lie there already.
    ``model.json`` is written last, so that an interrupted save never looks complete.

    Raises:
        ModelError: a network that the format does not know.
        OutputError: the folder cannot be written.
    """
    target = Path(folder)
    extra: dict[str, str] = {}
    owners = (model.fingerprint, model.fingerprint)
    for part in PARTS:
        network = _part_of(model, part)
        if network is None:
            (target / f"{part}.safetensors").unlink(missing_ok=True)
            continue
        digest = save_network(target / f"{part}.safetensors", network, dtype=dtype, extra=extra)
        if part == "generator":
            extra, owners = {"generator": digest}, (model.fingerprint, digest)
    if model.card is not None:
        _write_text(target / CARD, model.card)
    _copy_directions(model.directions, target / DIRECTIONS, owners)
    write_manifest(target, model)
    return load_folder(target)


def write_manifest(folder: Path, model: Model) -> None:
    """Write ``model.json`` for the parts that lie in ``folder``; name, template and licence are ``model``'s."""
    files = {}
    weights = folder / "generator.safetensors"
    for part in PARTS:
        path = folder / f"{part}.safetensors"
        if path.is_file():
            files[path.name] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    manifest = {
        "format": FOLDER_FORMAT,
        "version": 1,
        "name": model.name,
        "resolution": model.resolution,
        "template": model.template.to_dict(),
        "licence": model.licence,
        "fingerprint": read_metadata(weights)["fingerprint"] if weights.is_file() else model.fingerprint,
        "files": files,
    }
    _write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The parsed ``model.json`` of ``folder``.

    Raises:
        ModelError: missing, no JSON, or not written by latentedit.
    """
    path = folder / MANIFEST
    remedy = "A model folder is written by `latentedit convert` or `latentedit model add`."
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{str(folder)!r} is no model folder: it has no {MANIFEST}.", remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}.", remedy) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FOLDER_FORMAT:
        raise ModelError(f"{str(path)!r} does not describe a latentedit model.", remedy)
    if manifest.get("version") != 1:
        raise ModelError(
            f"{str(path)!r} has the unknown version {manifest.get('version')!r:.40}.", "It needs a newer latentedit."
        )
    return manifest


def load_folder(folder: Path, *, device: str | torch.device = "cpu", only_generator: bool = False) -> Model:
    """The model in ``folder`` with its networks on ``device``.

    Raises:
        ModelError: no model folder, a listed part is missing or damaged, or the encoder is another generator's.
    """
    manifest = read_manifest(folder)
    weights = folder / "generator.safetensors"
    generator = load_network(weights, kind="generator", device=device)
    name = str(manifest.get("name") or folder.name)
    model = Model(name, generator, path=folder, fingerprint=read_metadata(weights)["fingerprint"])
    return load_parts(folder, model, only_generator=only_generator)


def load_parts(folder: Path, model: Model, *, only_generator: bool = False) -> Model:
    """``model``, a generator alone, with what lies beside it in ``folder``; heads count as a part of the generator.

    Raises:
        ModelError: no model folder, a listed part is missing or damaged, or a part is another generator's.
    """
    manifest = read_manifest(folder)
    files = manifest.get("files")
    listed = set(files) if isinstance(files, dict) else set()
    parts: dict[str, Any] = {}
    for part in ("heads",) if only_generator else PARTS[1:]:
        path = folder / f"{part}.safetensors"
        if path.is_file() or path.name in listed:
            parts[part] = load_network(path, kind=part, device=model.device)
            _check_pair(path, part, model)
    if "heads" in parts:
        _attach_heads(model, parts.pop("heads"), folder)
    card = folder / CARD
    own = folder / DIRECTIONS
    return replace(
        model,
        template=_template(manifest.get("template"), folder),
        directions=own if own.is_dir() else shipped_for(model.fingerprint),
        card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None,
        licence=manifest.get("licence"),
        **parts,
    )


def _attach_heads(model: Model, heads: Any, folder: Path) -> None:
    from latentedit.networks.mobilestylegan import MobileSynthesis

    if not isinstance(model.generator.synthesis, MobileSynthesis):
        raise ModelError(
            f"The generator in {str(folder)!r} takes no heads.", "Put the two files of one model together."
        )
    model.generator.synthesis.heads = heads


def _part_of(model: Model, part: str) -> Any:
    return getattr(model.generator.synthesis, "heads", None) if part == "heads" else getattr(model, part)


def verify_folder(folder: Path) -> None:
    """Compare the files of a model folder with the hashes in its ``model.json``.

    Raises:
        ModelError: a file is missing or has another hash.
    """
    for name, entry in (read_manifest(folder).get("files") or {}).items():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelError(f"The model folder {str(folder)!r} lacks {name!r}.", "Copy or download it again.")
        if not isinstance(entry, dict) or sha256(path) != entry.get("sha256"):
            raise ModelError(
                f"{str(path)!r} does not have the SHA-256 that {MANIFEST} gives.", "Copy or download it again."
            )


def with_parts(model: Model, **parts: Any) -> Model:
    """A copy of ``model`` with other parts; ``None`` values leave a part as it is."""
    return replace(model, **{name: value for name, value in parts.items() if value is not None})


def _check_pair(path: Path, part: str, model: Model) -> None:
    owner = read_metadata(path).get("generator")
    if part != "perception" and owner is not None and owner != model.fingerprint:
        raise ModelError(
            f"The {part} in {str(path)!r} belongs to the generator {owner}, not to {model.fingerprint}.",
            "Put the two files of one model together.",
        )


def _template(values: Any, folder: Path) -> CropTemplate:
    if values is None:
        return FFHQ
    try:
        return CropTemplate.from_dict(values)
    except (LatentEditError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"The crop template in {str(folder / MANIFEST)!r} is not valid: {error}.", None) from error


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _copy_directions(source: Path | None, target: Path, owners: tuple[str, str]) -> None:
    """Copy direction files; ``owners`` are the generator's fingerprint before and after its weights were rounded."""
    if source is None or source.resolve() == target.resolve():
        return
    for path in sorted(source.glob("*.safetensors")):
        metadata = read_metadata(path)
        if metadata.get("fingerprint") == owners[0]:
            metadata["fingerprint"] = owners[1]
        save_tensors(target / path.name, read_tensors(path), metadata)
