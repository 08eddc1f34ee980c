"""A model is a folder: it is written, read, and verified here.

``model.json`` names the parts with their SHA-256, the resolution, the crop template and the licence; then come
``generator.safetensors``, optionally ``encoder.safetensors``, ``perception.safetensors`` and ``heads.safetensors``
(small pictures from inner features), ``MODEL_CARD.md``, and a folder ``directions/``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from latentedit.errors import LatentEditError, ModelError
from latentedit.faces import FFHQ, CropTemplate
from latentedit.files import atomic_path, read_metadata, read_tensors, save_tensors
from latentedit.models.locations import shipped_for
from latentedit.models.model import Model
from latentedit.models.network_file import load_network, save_network
from latentedit.models.parts import Deferred

if TYPE_CHECKING:
    from latentedit.networks import StyleGenerator

MANIFEST = "model.json"
CARD = "MODEL_CARD.md"
DIRECTIONS = "directions"
FOLDER_FORMAT = "latentedit-model"
PARTS = ("generator", "encoder", "perception", "heads")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def save_model(folder: str | os.PathLike[str], model: Model, *, dtype: torch.dtype = torch.float32) -> Model:
    """Write ``model`` as a folder and return what loads from it.

    ``dtype`` float16 halves the files; the model that is returned has the rounded weights and their fingerprint. Its
    mapping counts as the same: rounding moves w by a thousandth. Directions go along into ``directions/``.
    ``model.json`` is written last, so that an interrupted save never looks complete.

    Raises:
        ModelError: a network that the format does not know.
        OutputError: the folder cannot be written.
    """
    target = Path(folder)
    extra = {"mapping": model.mapping_fingerprint}
    digest = save_network(target / "generator.safetensors", model.generator, dtype=dtype, extra=extra)
    heads = getattr(model.generator.synthesis, "heads", None)
    for part, network in (("encoder", model.encoder), ("perception", model.perception), ("heads", heads)):
        path = target / f"{part}.safetensors"
        if network is None:
            path.unlink(missing_ok=True)
        else:
            save_network(path, network, dtype=dtype, extra={"generator": digest})
    if model.card is not None:
        _write_text(target / CARD, model.card)
    _copy_directions(model, target / DIRECTIONS, digest)
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
        "mapping": model.mapping_fingerprint,
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


def load_folder(folder: Path, *, device: str | torch.device = "cpu") -> Model:
    """The model in ``folder`` with its networks on ``device``; encoder and perception are built when asked for.

    Raises:
        ModelError: no model folder, a listed part is missing, the generator or its heads are damaged, or a part is
            another generator's.
    """
    manifest = read_manifest(folder)
    weights = folder / "generator.safetensors"
    generator = load_network(weights, kind="generator", device=device)
    metadata = read_metadata(weights)
    return Model(
        name=str(manifest.get("name") or folder.name),
        generator=generator,
        path=folder,
        fingerprint=metadata["fingerprint"],
        mapping_fingerprint=metadata.get("mapping", ""),
        **read_parts(folder, generator, metadata["fingerprint"], metadata.get("mapping", ""), device=device),
    )


def read_parts(
    folder: Path, generator: StyleGenerator, fingerprint: str, mapping: str, *, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """What lies beside a generator in ``folder``, as fields of `Model`; heads are given to the generator itself.

    Raises:
        ModelError: no model folder, a listed part is missing, heads are damaged, or a part is another generator's.
    """
    manifest = read_manifest(folder)
    encoder, perception, heads = (_listed(folder / f"{part}.safetensors", manifest) for part in PARTS[1:])
    for part, path in (("encoder", encoder), ("heads", heads)):
        if path is not None:
            _check_pair(path, part, fingerprint)
    if heads is not None:
        _attach_heads(generator, heads, device)
    own, card = folder / DIRECTIONS, folder / CARD
    return {
        "encoder": encoder and Deferred(lambda: load_network(encoder, kind="encoder", device=device)),
        "perception": perception and Deferred(lambda: load_network(perception, kind="perception", device=device)),
        "template": _template(manifest.get("template"), folder),
        "directions": own if own.is_dir() else shipped_for(fingerprint, mapping),
        "card": card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None,
        "licence": manifest.get("licence"),
    }


def _attach_heads(generator: StyleGenerator, path: Path, device: str | torch.device) -> None:
    from latentedit.networks.mobilestylegan import MobileSynthesis
    from latentedit.networks.small_heads import SmallHeads

    heads = load_network(path, kind="heads", device=device)
    if not isinstance(generator.synthesis, MobileSynthesis) or not isinstance(heads, SmallHeads):
        raise ModelError(f"The generator beside {str(path)!r} takes no heads.", "Put the files of one model together.")
    generator.synthesis.heads = heads


def _listed(path: Path, manifest: dict[str, Any]) -> Path | None:
    """The file of a part, where there is one or the manifest says so; its header is read to find it intact."""
    files = manifest.get("files")
    if not path.is_file() and not (isinstance(files, dict) and path.name in files):
        return None
    read_metadata(path)
    return path


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


def _check_pair(path: Path, part: str, fingerprint: str) -> None:
    owner = read_metadata(path).get("generator")
    if owner is not None and owner != fingerprint:
        raise ModelError(
            f"The {part} in {str(path)!r} belongs to the generator {owner}, not to {fingerprint}.",
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


def _copy_directions(model: Model, target: Path, digest: str) -> None:
    """Copy the direction files of ``model``; those of its own generator become those of the saved one, ``digest``."""
    if model.directions is None or model.directions.resolve() == target.resolve():
        return
    for path in sorted(model.directions.glob("*.safetensors")):
        metadata = read_metadata(path)
        if metadata.get("fingerprint") == model.fingerprint:
            metadata["fingerprint"] = digest
        save_tensors(target / path.name, read_tensors(path), metadata)
