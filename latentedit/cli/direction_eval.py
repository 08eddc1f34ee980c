"""``latentedit-direction eval``: figures, calibration plot, and a strip of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentedit.cli._common import Command, device_option, model_option, outdir_option, progress, seed_option

if TYPE_CHECKING:
    import numpy as np

    from latentedit.directions import Direction
    from latentedit.directions.fitting.probe import Probe
    from latentedit.evaluation.directions import Evaluation


@click.command(cls=Command)
@click.argument("directions", metavar="NAME|FILE...", nargs=-1)
@model_option
@device_option
@seed_option
@outdir_option("direction-eval")
@click.option(
    "--samples",
    type=click.IntRange(min=20),
    default=1000,
    show_default=True,
    help="Fresh latents that accuracy is measured on.",
)
@click.option("--psi", type=click.FloatRange(0, 2), default=1.0, show_default=True, help="Truncation of the samples.")
@click.option("--probes", type=click.IntRange(min=2), default=48, show_default=True, help="Latents that are moved.")
@click.option("--faces", type=click.IntRange(min=1), default=4, show_default=True, help="Rows of the strip.")
def command(
    directions: tuple[str, ...], model: str | None, device: str, seed: int, outdir: Path, samples: int, psi: float,
    probes: int, faces: int,
) -> None:  # fmt: skip
    """Measure directions (default: all of the model) on fresh samples.

    Writes NAME.json (accuracy, leakage, what amounts in units come to), NAME-calibration.png, and NAME-strip.png: faces
    moved from -3 to +3 steps.
    """
    from latentedit.directions import list_directions, load_direction
    from latentedit.directions.fitting.labelled import SampleConfig, sample_labelled
    from latentedit.directions.fitting.probe import Probe
    from latentedit.evaluation.directions import evaluate_direction
    from latentedit.evaluation.plot import calibration_plot
    from latentedit.files import atomic_path
    from latentedit.models import load_model

    owner = load_model(model, device=device)
    found = [load_direction(name, owner) for name in (directions or list_directions(owner))]
    if not found:
        raise click.UsageError(f"{owner.name} has no directions to measure.")
    perception = owner.require("perception")
    # Seeds of fits count up from 0; these come from the other end.
    config = SampleConfig(count=samples, seed=4000 + seed % 200, psi=psi)
    with progress("sampling", total=samples) as bar:
        labelled = sample_labelled(owner.generator, perception, config, progress=bar.advance)
    with progress("measuring") as bar:
        probe = Probe(owner.generator, perception, progress=bar.advance)
        for direction in found:
            evaluation = evaluate_direction(owner, direction, labelled, probes=probes, seed=seed, progress=bar.advance)
            with atomic_path(outdir / f"{direction.name}.json") as temporary:
                temporary.write_text(json.dumps(evaluation.to_dict(), indent=2))
            calibration_plot(direction, evaluation, outdir / f"{direction.name}-calibration.png")
            _write_strip(probe, direction, labelled.w[:faces], outdir / f"{direction.name}-strip.png")
            click.echo(_line(evaluation))


def _write_strip(probe: Probe, direction: Direction, w: np.ndarray, path: Path) -> None:
    from latentedit.evaluation.directions import strip
    from latentedit.files import atomic_path
    from latentedit.media import contact_sheet

    amounts = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    pictures = strip(probe, direction, probe.spread_ws(w), amounts)
    sheet = contact_sheet(pictures, columns=[f"{amount:+g}" if amount else "0" for amount in amounts])
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="png")


def _line(evaluation: Evaluation) -> str:
    ends, every = 100 * evaluation.accuracy_ends, 100 * evaluation.accuracy_all
    text = f"{evaluation.name}: {ends:.1f} % at the ends, {every:.1f} % overall"
    for title, amounts in (("unverified", evaluation.calibrated), ("verified", evaluation.corrected)):
        if amounts is not None:
            text += (
                f"; {title} {amounts.amount:+g} gives {amounts.mean:.3g} +- {amounts.deviation:.2g}, "
                f"{100 * amounts.success:.0f} % succeed"
            )
    worst = next(iter(evaluation.leakage.items()), None)
    return text + (f"; leaks most into {worst[0]} ({worst[1]:.2f})" if worst else "")
