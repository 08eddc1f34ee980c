"""The calibration plot of an evaluated direction."""

from __future__ import annotations

import os

from latentedit.directions.direction import Direction
from latentedit.evaluation.directions import Evaluation
from latentedit.files import atomic_path


def calibration_plot(direction: Direction, evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Draw what was measured (median and quartiles) and what the direction's calibration promises; write a PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curve = evaluation.curve
    axes.fill_between(curve["distance"], curve["low"], curve["high"], alpha=0.25, label="measured, middle half")
    axes.plot(curve["distance"], curve["median"], marker="o", label="measured, median")
    if direction.calibration is not None:
        axes.plot(direction.calibration.distances, direction.calibration.scores, "k--", label="calibration")
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("signed distance along the direction")
    axes.set_ylabel(f"{direction.name} ({evaluation.unit})")
    axes.set_title(f"{direction.name}: {100 * evaluation.accuracy_ends:.1f} % of both ends on the right side")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
