"""The user's registry of named models: a folder each, in the user's data folder."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from latentedit.checkpoints.recognise import is_safetensors, read_checkpoint
from latentedit.errors import ModelError
from latentedit.faces import CropTemplate
from latentedit.files import read_metadata
from latentedit.models.convert import replace_folder
from latentedit.models.folder import DIRECTIONS, MANIFEST, save_model
from latentedit.models.loading import load_model, load_own_parts, registered_names
from latentedit.models.locations import BUNDLED, models_folder
from latentedit.models.model import Model
from latentedit.models.network_file import FORMAT, load_network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Companions:
    """What a model is given beside its generator; None leaves what the source has.

    ``encoder`` and ``perception`` are files of the own format, or a model (name, folder, pSp-family checkpoint) that
    has one; ``directions`` is a folder with ``.safetensors`` of this generator.
    """

    encoder: str | os.PathLike[str] | None = None
    perception: str | os.PathLike[str] | None = None
    template: CropTemplate | None = None
    directions: Path | None = None
    card: str | None = None
    licence: str | None = None


def check_name(name: str) -> str:
    """``name`` if it can name a registered model.

    Raises:
        ModelError: other characters than letters, digits, ``.``, ``_``, ``-``; too long; or a bundled model's name.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r:.80} cannot be the name of a model.", "Use up to 64 letters, digits, dots, dashes, underscores."
        )
    if name in BUNDLED:
        raise ModelError(
            f"{name!r} is the name of a model that comes with latentedit.", "Choose another with `--name`."
        )
    return name


def add_model(
    source: str | os.PathLike[str],
    name: str | None = None,
    *,
    companions: Companions | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Model:
    """Register a copy of ``source`` (what `load_model` takes) under ``name`` (by default the file's own).

    To give a registered model new companions, add it to itself: ``add_model("mine", companions=...)``.

    Raises:
        ModelError: an unreadable source, a bad name, one that is taken (unless ``overwrite``), or a companion that does
            not fit the generator.
    """
    chosen = check_name(name or Path(os.fspath(source)).stem)
    target = models_folder() / chosen
    itself = os.fspath(source) == chosen
    if target.exists() and not (overwrite or itself):
        raise ModelError(f"A model {chosen!r} is registered already.", "Choose another `--name`, or pass `--replace`.")
    model = _with_companions(load_own_parts(source), companions or Companions())
    beside = target.with_name(f".{chosen}.adding-{os.getpid()}")
    try:
        save_model(beside, replace(model, name=chosen), dtype=dtype)
        replace_folder(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return load_model(chosen)


def _with_companions(model: Model, companions: Companions) -> Model:
    changes: dict[str, Any] = {
        "template": companions.template,
        "card": companions.card,
        "licence": companions.licence,
    }
    if companions.encoder is not None:
        changes["encoder"] = _part(companions.encoder, "encoder")
        _check_encoder(changes["encoder"], model, companions.encoder)
    if companions.perception is not None:
        changes["perception"] = _part(companions.perception, "perception")
    if companions.directions is not None:
        if not companions.directions.is_dir():
            raise ModelError(f"{str(companions.directions)!r} is no folder of directions.", None)
        changes[DIRECTIONS] = companions.directions
    return replace(model, **{key: value for key, value in changes.items() if value is not None})


def _part(source: str | os.PathLike[str], part: Literal["encoder", "perception"]) -> Any:
    """The ``part`` network of a file of its own, or of a model that has one."""
    path = Path(source)
    if path.is_file() and is_safetensors(path) and read_metadata(path).get("format") == FORMAT:
        return load_network(path, kind=part)
    if path.is_file() and part == "encoder":
        checkpoint = read_checkpoint(path)
        if checkpoint.encoder is None:
            raise ModelError(f"{str(path)!r} holds no encoder that can be used.", "; ".join(checkpoint.notes) or None)
    model = load_own_parts(source)
    return model.require("encoder") if part == "encoder" else model.require("perception")


def _check_encoder(encoder: Any, model: Model, source: str | os.PathLike[str]) -> None:
    config = encoder.config
    if (config.num_ws, config.w_dim) != (model.generator.num_ws, model.generator.w_dim):
        raise ModelError(
            f"The encoder of {os.fspath(source)!r} gives [{config.num_ws}, {config.w_dim}], but the generator takes "
            f"[{model.generator.num_ws}, {model.generator.w_dim}].",
            "Give the encoder that was trained for this generator.",
        )


def remove_model(name: str) -> Path:
    """Delete the registered model ``name`` and return where it was. The user's own directions of it stay.

    Raises:
        ModelError: no such model, or the embedded one.
    """
    folder = models_folder() / check_name(name)
    if not (folder / MANIFEST).is_file():
        known = ", ".join(registered_names()) or "none"
        raise ModelError(f"No model {name!r} is registered.", f"Registered: {known}.")
    shutil.rmtree(folder)
    return folder
