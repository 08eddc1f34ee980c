"""The whole procedure: one labelled set, many attributes; separate, condition, choose layers, calibrate.

Every choice is made by measurement: latents are moved, rendered, and looked at. Legend: ``N`` latents, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from latentedit.attributes import PROBABILITY, find, resolve
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.candidates import Candidate, best_candidate
from latentedit.directions.fitting.conditioning import cosine_table
from latentedit.directions.fitting.config import ProcedureConfig
from latentedit.directions.fitting.fit import fit_direction
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.layer_choice import choose_layers
from latentedit.directions.fitting.moving import calibrate_by_moving
from latentedit.directions.fitting.probe import Leakage, LeakageMeter, Probe
from latentedit.directions.fitting.study import Study
from latentedit.directions.fitting.svm import Hyperplane, accuracy, choose_ends, is_binary
from latentedit.errors import DirectionError
from latentedit.latents import layer_indices

Report = Callable[[str], None]

REACH = 5.5
"""Standard deviations of the samples that years and degrees are calibrated to, either way: probabilities end by
themselves, but years and degrees went on being read from faces that had fallen apart."""


def fit_attributes(
    probe: Probe,
    labelled: LabelledLatents,
    attributes: Sequence[str],
    *,
    config: ProcedureConfig | None = None,
    report: Report | None = None,
) -> dict[str, Direction]:
    """Fit a calibrated direction for each of ``attributes`` from one set of labelled latents.

    Scores that the perception network knows are conditioned, restricted to layers and calibrated by moving latents and
    rendering them. Labels of the user's own that it does not know give a plain direction calibrated on the labels.

    Raises:
        DirectionError: an attribute without labels (those with are listed), or labels that cannot be separated.
    """
    config = config or ProcedureConfig()
    say = report or (lambda text: None)
    keys = {name: resolve(name, labelled.scores) for name in attributes}
    watched = {
        name: key
        for name in config.watch
        if (key := find(name, labelled.scores)) is not None and key not in keys.values()
    }
    plain: dict[str, Direction] = {}
    for name, key in {**keys, **watched}.items():
        try:
            plain[name] = _separate(name, key, labelled, config)
        except DirectionError:
            if name in keys:
                raise
            continue  # a watched attribute that no sample has needs no watching
        say(f"{name}: held-out accuracy {_accuracy(plain[name])}")
    known = {name: key for name, key in {**keys, **watched}.items() if name in plain}
    study = Study.of(probe, labelled, known, config)
    done = {}
    for name in keys:
        done[name] = complete(study, plain[name])
        say(_summary(done[name]))
    return _related(done, plain, config)


def complete(study: Study, plain: Direction) -> Direction:
    """Choose the way to move, condition, restrict to layers, and calibrate the plain direction of a machine.

    A direction of labels that the perception network does not know is returned as it is.

    Raises:
        DirectionError: moving along it does not raise the score.
    """
    if plain.name not in study.spreads:
        return plain
    meter = study.meter(plain.name)
    best = best_candidate(study, meter, plain)
    direction = _recentred(study, best.direction, plain)
    direction, leakage = _restricted(study, meter, direction, best)
    half = 3 * best.step
    if direction.unit != PROBABILITY:
        half = min(half, REACH * float(direction.metrics["spread"]))
    calibration = calibrate_by_moving(study.probe, direction, study.ws, score=meter.own, half=half)
    return direction.with_(
        calibration=calibration,
        svm_normal=plain.normal,
        metrics={**direction.metrics, **_metrics(study, plain.name, best, leakage)},
        settings={**direction.settings, "way": best.way, "conditioned_on": sorted(best.names)},
    )


def _separate(name: str, key: str, labelled: LabelledLatents, config: ProcedureConfig) -> Direction:
    direction = fit_direction(
        labelled.w,
        labelled.scores[key],
        name=name,
        unit=labelled.units.get(key),
        generator=labelled.fingerprint,
        config=config.fit,
    )
    return direction.with_(settings={**direction.settings, "score": key})


def _recentred(study: Study, direction: Direction, plain: Direction) -> Direction:
    """The hyperplane half-way between the ends along a new normal, and how well that one separates."""
    labelled = study.labelled
    values = np.asarray(labelled.scores[study.keys[plain.name]], np.float64)
    soft = plain.unit == PROBABILITY and not is_binary(values)
    ends = choose_ends(values, study.config.fit, rare_above=0.5 if soft else None)
    normal = direction.normal.double().numpy()
    along = labelled.w @ normal.astype(np.float32)
    middle = float(along[ends.train_high].mean() + along[ends.train_low].mean()) / 2
    plane = Hyperplane(normal, -middle, 0.0, "projected")
    metrics = {
        **direction.metrics,
        "accuracy_conditioned": accuracy(plane, labelled.w, ends.held_high, ends.held_low),
        "cosine_to_svm": float(plain.normal.double().numpy() @ normal),
        "spread": float(along.std()),
    }
    return direction.with_(intercept=-middle, metrics=metrics)


def _restricted(study: Study, meter: LeakageMeter, direction: Direction, best: Candidate) -> tuple[Direction, Leakage]:
    """``direction`` on the layers that the configuration or measurement chooses, and what it does there."""
    resolutions = study.probe.generator.synthesis.layer_resolutions
    if study.config.layers == "auto":
        half = study.ws[: max(len(study.ws) // 2, 1)]
        few = LeakageMeter(study.probe, half, own=meter.own, spreads=meter.spreads)
        layers = choose_layers(few, direction, resolutions, best.step, tolerance=study.config.tolerance)
    else:
        layers = None if study.config.layers is None else layer_indices(study.config.layers, resolutions)
    if layers is None:
        return direction, best.after
    limited = direction.with_(layers=layers)
    return limited, meter.measure(limited, best.step)


def _metrics(study: Study, name: str, best: Candidate, leakage: Leakage) -> dict[str, object]:
    names = {key: other for other, key in study.keys.items()}
    own = study.spreads[name]
    return {
        "step": best.step,
        "effect": leakage.own * own,
        "effect_before": best.before.own * own,
        "identity": leakage.identity,
        "strain": study.geometry.strain(2 * best.step * best.direction.normal.double().numpy()),
        "leakage": {names[key]: round(leakage.ratio(key), 4) for key in leakage.others},
        "leakage_before": {names[key]: round(best.before.ratio(key), 4) for key in best.before.others},
    }


def _related(done: dict[str, Direction], plain: dict[str, Direction], config: ProcedureConfig) -> dict[str, Direction]:
    """The directions with their cosines to each other, and how they were made."""
    cosines, before = cosine_table({**plain, **done}), cosine_table(plain)
    procedure = _as_lists(asdict(config))
    return {
        name: direction.with_(
            cosines=cosines.get(name, {}),
            metrics={**direction.metrics, "cosines_svm": before.get(name, {})},
            settings={**direction.settings, "procedure": procedure},
        )
        for name, direction in done.items()
    }


def _summary(direction: Direction) -> str:
    text = f"{direction.name}: accuracy {_accuracy(direction)}"
    if "way" in direction.settings:
        names = ", ".join(direction.settings["conditioned_on"]) or "nothing"
        layers = "all" if direction.layers is None else f"{direction.layers[0]}-{direction.layers[-1]}"
        text += f", along the {direction.settings['way']}, conditioned on {names}, layers {layers}"
    if direction.calibration is not None:
        text += f", scores {direction.calibration.scores[0]:.3g} to {direction.calibration.scores[-1]:.3g}"
    return text


def _accuracy(direction: Direction) -> str:
    """``95.0 % (92 to 97 % with 95 % confidence, 360 held out)``."""
    text, interval = f"{100 * (direction.accuracy or 0):.1f} %", direction.accuracy_interval
    if interval is None:
        return text
    low, high = (100 * end for end in interval)
    return f"{text} ({low:.0f} to {high:.0f} % with 95 % confidence, {direction.settings['held_out']} held out)"


def _as_lists(value: object) -> object:
    """Tuples as lists, so that settings read back equal what was written."""
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
