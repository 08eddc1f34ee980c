"""Rewrite a model in another format, and prove that the copy renders the same pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from latentedit.checkpoints.checkpoint import TensorReader
from latentedit.checkpoints.mobile.student import to_student
from latentedit.checkpoints.recognise import mapped, read_value
from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.errors import ModelError, OutputError
from latentedit.files import atomic_path
from latentedit.latents import seed_z
from latentedit.models.folder import save_model
from latentedit.models.loading import load_generator, load_own_parts
from latentedit.models.model import Model
from latentedit.models.network_file import save_network
from latentedit.networks.assembly import assemble_generator
from latentedit.networks.protocols import StyleGenerator

Format = Literal["latentedit", "rosinality", "nvidia", "mobilestylegan"]
FORMATS: tuple[Format, ...] = ("latentedit", "rosinality", "nvidia", "mobilestylegan")
SEEDS = tuple(range(10))
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Proof:
    """The largest difference of a pixel of one seed, before and after; pixels are in [-1, 1]."""

    seed: int
    difference: float


def compare(a: StyleGenerator, b: StyleGenerator) -> Iterator[Proof]:
    """Render the ten seeds with both generators (truncation 0.7, stored noise) and yield each one's difference."""
    for seed in SEEDS:
        z = seed_z([seed], a.z_dim)
        c = torch.eye(a.c_dim)[[seed % a.c_dim]] if a.c_dim else None
        with torch.no_grad():
            images = [g.synthesis(g.mapping(z.to(_device(g)), c, truncation_psi=0.7)).cpu() for g in (a, b)]
        difference = float((images[0] - images[1]).abs().max())
        yield Proof(seed, difference if difference == difference else float("inf"))


def _device(generator: StyleGenerator) -> torch.device:
    return next(generator.parameters()).device


def guess_format(target: Path, generator: StyleGenerator) -> Format:
    """What the name of ``target`` asks for: ``.pt``, ``.pth`` and ``.ckpt`` are for the tools that others have for
    generators of this family (MobileStyleGAN's own, else rosinality's), all else is our own."""
    if target.suffix.lower() not in (".pt", ".pth", ".ckpt"):
        return "latentedit"
    return "mobilestylegan" if type(generator).__name__ == "MobileStyleGANGenerator" else "rosinality"


def convert(
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str],
    *,
    to: Format | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Proof]:
    """Convert the model ``source`` to ``target`` and yield the proof, one seed at a time.

    Own format: ``target`` is a folder (generator and what else the source has), or a ``.safetensors`` file (the
    generator alone). The other formats are ``.pt`` files with the generator. The result appears under its name only
    once all seeds agree; stop iterating earlier, and nothing is left behind.

    Args:
        source: what `load_model` takes.
        target: where to write; an existing folder must be a model of ours or empty.
        to: None goes by the name of ``target`` (`guess_format`).
        dtype: of the own format on disk; float16 halves it, and the comparison is with the rounded weights.

    Raises:
        ModelError: the source cannot be read, the format has no such network, or pictures differ by more than 1e-4.
        OutputError: the target cannot be written.
    """
    path = Path(target)
    model = load_own_parts(source)
    to = guess_format(path, model.generator) if to is None else to
    if to == "latentedit" and path.suffix.lower() != ".safetensors":
        yield from _convert_folder(model, path, dtype)
        return
    with atomic_path(path) as temporary:
        original = model.generator if dtype == torch.float32 else rounded(model.generator, dtype)
        _write_file(model.generator, temporary, to, dtype)
        yield from _proved(original, _reload(temporary, to, model.generator), path)


def rounded(generator: StyleGenerator, dtype: torch.dtype) -> StyleGenerator:
    """The generator as it will be once its matrices were stored as ``dtype``."""
    from latentedit.models.network_file import _stored

    state = {name: _stored(value, dtype) for name, value in generator.state_dict().items()}
    return assemble_generator(type(generator).__name__, generator.config, state, origin="the rounded generator")


def _proved(original: StyleGenerator, copy: StyleGenerator, target: Path) -> Iterator[Proof]:
    for proof in compare(original, copy):
        yield proof
        if proof.difference > TOLERANCE:
            raise ModelError(
                f"The converted generator differs by {proof.difference:.3g} at seed {proof.seed}; {str(target)!r} was "
                "not written.",
                "Please report this file's kind.",
            )


def _write_file(generator: StyleGenerator, path: Path, to: Format, dtype: torch.dtype) -> None:
    if to == "latentedit":
        save_network(path, generator, dtype=dtype)
    elif to == "rosinality":
        torch.save(to_rosinality(generator), path)
    elif to == "mobilestylegan":
        torch.save(to_student(generator), path)
    else:
        torch.save({name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}, path)


def _reload(path: Path, to: Format, original: StyleGenerator) -> StyleGenerator:
    """The generator in the file just written; a bare state dict takes the config of the original."""
    if to != "nvidia":
        return load_generator(path)
    with mapped(path) as data:
        state = TensorReader(repr(str(path)), len(data)).all(read_value(data, repr(str(path))))
    return assemble_generator(type(original).__name__, original.config, state, origin=repr(str(path)))


def _convert_folder(model: Model, path: Path, dtype: torch.dtype) -> Iterator[Proof]:
    from latentedit.models.folder import MANIFEST

    if path.exists() and not (path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))):
        raise OutputError(f"{str(path)!r} exists and is no model folder.", "Choose another name.")
    beside = path.parent / f".{path.name}.converting-{os.getpid()}"
    try:
        copy = save_model(beside, replace(model, name=path.name), dtype=dtype)
        yield from _proved(rounded(model.generator, dtype), copy.generator, path)
        replace_folder(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Put the folder ``new`` in the place of ``path``; an older one is removed only after the new one stands."""
    old = path.parent / f".{path.name}.old-{os.getpid()}"
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except OSError as error:
        if old.exists() and not path.exists():
            old.rename(path)
        raise OutputError(f"Cannot write {str(path)!r}: {error.strerror}.", "Choose another place.") from error
    shutil.rmtree(old, ignore_errors=True)
