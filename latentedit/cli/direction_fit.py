"""``latentedit-direction fit``: fit directions of attributes from sampled latents, the user's own, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, device_option, model_option, progress, seed_option
from latentedit.cli._directions import check_output, put

if TYPE_CHECKING:
    from latentedit.directions import LabelledLatents, ProcedureConfig, SampleConfig
    from latentedit.models import Model

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option(
    "--attr",
    "attributes",
    multiple=True,
    metavar="NAME",
    required=True,
    help="Attribute to fit; may be given several times. 'all': age, smile, mask, makeup, ...",
)
@model_option
@device_option
@seed_option
@click.option(
    "--samples", type=click.IntRange(min=20), help="How many latents to sample.  [default: 10000; none with --latents]"
)
@click.option("--psi", type=click.FloatRange(0, 2), default=1.0, show_default=True, help="Truncation of the samples.")
@click.option(
    "--labelled",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the labelled samples; an interrupted run goes on there.  [default: the user's data folder]",
)
@click.option("--latents", type=_FILE, help="Your own latents: .npz, .npy, .pt.")
@click.option(
    "--labels",
    type=_FILE,
    help="CSV with one line per latent and a column per attribute.  "
    "[default: the perception network looks at the rendered latents]",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of the latents taken at each end of a score.",
)
@click.option(
    "--condition",
    default="auto",
    show_default=True,
    metavar="auto|none|NAMES",
    help="Attributes to hold still: by measured leakage, none, or names with commas.",
)
@click.option(
    "--layers",
    default="auto",
    show_default=True,
    metavar="auto|all|RANGE",
    help="Layers to act on: by measured effect, all, or coarse, middle, fine, 0-6.",
)
@click.option(
    "--way",
    type=click.Choice(["auto", "normal", "pattern"]),
    default="auto",
    show_default=True,
    help="Move along the machine's normal, the pattern of the samples, or what measures better.",
)
@click.option(
    "--probes",
    type=click.IntRange(min=2),
    default=48,
    show_default=True,
    help="Latents that are rendered for each measurement.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write NAME.safetensors into, or the file for a single attribute.  "
    "[default: where edits with this model find it]",
)
def command(attributes: tuple[str, ...], model: str | None, device: str, **options: Any) -> None:
    """Fit directions of attributes, in units, for a generator.

    Latents are sampled, rendered, and labelled by the perception network; all attributes share them, and a later run
    finds them again. With --latents (and --labels) your own are used instead, or added where --samples is given too.
    """
    from latentedit.directions.fitting.pipeline import fit_attributes
    from latentedit.directions.fitting.probe import Probe
    from latentedit.models import load_model

    if options["labels"] and not options["latents"]:
        raise click.UsageError("--labels needs --latents.")
    owner = load_model(model, device=device)
    names = _names(attributes)
    check_output(options["output"], names)
    labelled = _labelled(owner, names, options)
    perception = owner.require("perception")
    with progress("measuring") as bar:
        probe = Probe(owner.generator, perception, progress=bar.advance)
        done = fit_attributes(probe, labelled, names, config=_config(options), report=lambda text: click.echo(text))
    for path in put(done, options["output"], owner).values():
        click.echo(f"wrote {path}")


def _names(attributes: tuple[str, ...]) -> list[str]:
    from latentedit.directions.fitting.config import CORE
    from latentedit.directions.store import check_name

    parts = [part.strip() for text in attributes for part in text.split(",")]
    names = [name for part in parts for name in (CORE if part == "all" else (part,))]
    return [check_name(name) for name in dict.fromkeys(names)]


def _config(options: dict[str, Any]) -> ProcedureConfig:
    from latentedit.directions.fitting.config import FitConfig, ProcedureConfig

    condition: str | tuple[str, ...] = options["condition"]
    if condition != "auto":
        condition = () if condition == "none" else tuple(str(condition).replace(" ", "").split(","))
    watch = tuple(dict.fromkeys((*ProcedureConfig().watch, *(condition if isinstance(condition, tuple) else ()))))
    return ProcedureConfig(
        fit=FitConfig(share=options["share"], seed=options["seed"]),
        watch=watch,
        way=options["way"],
        condition=condition,
        layers=None if options["layers"] == "all" else options["layers"],
        probes=options["probes"],
        seed=options["seed"],
    )


def _labelled(owner: Model, names: list[str], options: dict[str, Any]) -> LabelledLatents:
    parts = []
    if options["latents"] is not None:
        parts.append(_own(owner, options))
    if options["latents"] is None or options["samples"]:
        parts.append(_sampled(owner, names, options))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _own(owner: Model, options: dict[str, Any]) -> LabelledLatents:
    from latentedit.directions.fitting.labelled import label_latents
    from latentedit.directions.io.tables import read_labelled, read_latents
    from latentedit.latents import check_ws

    generator = owner.generator
    units = {} if owner.perception is None else dict(owner.perception.units)
    if options["labels"] is not None:
        own = read_labelled(options["latents"], options["labels"], units=units, fingerprint=owner.fingerprint)
        if own.w.shape[1] != generator.w_dim:
            check_ws(own.w, generator.num_ws, generator.w_dim)
        return own
    ws = check_ws(read_latents(options["latents"]), generator.num_ws, generator.w_dim)
    with progress("labelling", total=len(ws)) as bar:
        return label_latents(generator, owner.require("perception"), ws, progress=bar.advance)


def _sampled(owner: Model, names: list[str], options: dict[str, Any]) -> LabelledLatents:
    from latentedit.attributes import resolve
    from latentedit.directions.fitting.labelled import SampleConfig, sample_labelled
    from latentedit.directions.fitting.light import LIGHT

    perception = owner.require("perception")
    for name in names:
        if options["latents"] is None:
            resolve(name, (*perception.units, *LIGHT))  # an unknown one is found out before the work
    config = SampleConfig(count=options["samples"] or 10_000, seed=options["seed"], psi=options["psi"])
    folder = options["labelled"] or _cache(owner, config)
    with progress("sampling", total=config.count) as bar:
        return sample_labelled(owner.generator, perception, config, folder=folder, progress=bar.advance)


def _cache(owner: Model, config: SampleConfig) -> Path:
    from latentedit.directions.fitting.labelled import judge_of
    from latentedit.models import data_folder

    judge = judge_of(owner.require("perception"))[:8]
    return data_folder() / "labelled" / f"{owner.fingerprint}-{judge}-psi{config.psi:g}-seed{config.seed}"
