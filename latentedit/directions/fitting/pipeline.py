"""The whole procedure: one labelled set, many attributes; separate, condition, choose layers, calibrate.

Every choice is made by measurement: latents are moved, rendered, and looked at. Legend: ``N`` latents, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from latentedit.directions.direction import Direction
from latentedit.directions.fitting.conditioning import cosine_table
from latentedit.directions.fitting.fit import fit_direction
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.light import LIGHT
from latentedit.directions.fitting.probe import Probe
from latentedit.directions.fitting.svm import FitConfig
from latentedit.errors import DirectionError

CORE = ("age", "smile", "mask", "makeup", "lipstick", "eyeglasses", "gender", "yaw", "pitch")
"""The attributes that are fitted by default."""

WAYS = ("normal", "pattern")
"""Ways to move: along the machine's normal, or along the pattern of the latents that differ in the attribute."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class ProcedureConfig:
    """How `fit_attributes` proceeds.

    Attributes:
        fit: of the hyperplanes.
        watch: attributes whose change is measured while another is edited, and that may be projected out.
        way: one of `WAYS`, or "auto": the one that measures better.
        condition: "auto" (by measured leakage), or the names to project out of every direction; () for none.
        layers: "auto" (by measured effect), None for all, or a selection as in `layer_indices`.
        probes: latents that are moved and rendered for each measurement.
        tolerance: a leak below this share of the own effect (both in spreads among samples) is let be.
        seed: of the choice of the probes.
    """

    fit: FitConfig = field(default_factory=FitConfig)
    watch: tuple[str, ...] = (*CORE, *LIGHT)
    way: str = "auto"
    condition: str | tuple[str, ...] = "auto"
    layers: str | tuple[int, ...] | None = "auto"
    probes: int = 48
    tolerance: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.way not in (*WAYS, "auto"):
            raise DirectionError(f"way={self.way!r} is unknown.", f"Choose {', '.join(WAYS)} or auto.")
        if self.probes < 2:
            raise DirectionError(f"probes={self.probes} is too few to measure anything.", "Choose 24 or more.")


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
    from latentedit.directions.fitting.study import Study

    config = config or ProcedureConfig()
    say = report or (lambda text: None)
    keys = {name: score_key(name, labelled) for name in attributes}
    watched = {name: key for name in config.watch if (key := _maybe(name, labelled)) and key not in keys.values()}
    plain: dict[str, Direction] = {}
    for name, key in {**keys, **watched}.items():
        try:
            plain[name] = _separate(name, key, labelled, config)
        except DirectionError:
            if name in keys:
                raise
            continue  # a watched attribute that no sample has needs no watching
        say(f"{name}: held-out accuracy {100 * (plain[name].accuracy or 0):.1f} %")
    study = Study(probe, labelled, {name: key for name, key in {**keys, **watched}.items() if name in plain}, config)
    done = {}
    for name in keys:
        done[name] = study.complete(plain[name])
        say(_summary(done[name]))
    cosines, before = cosine_table({**plain, **done}), cosine_table(plain)
    procedure = _plain(asdict(config))
    return {
        name: direction.with_(
            cosines=cosines.get(name, {}),
            metrics={**direction.metrics, "cosines_svm": before.get(name, {})},
            settings={**direction.settings, "procedure": procedure},
        )
        for name, direction in done.items()
    }


def score_key(name: str, labelled: LabelledLatents) -> str:
    """The score that ``name`` stands for: itself, or the canonical attribute behind an alias.

    Raises:
        DirectionError: no labels of that name; those that there are are listed.
    """
    key = _maybe(name, labelled)
    if key is None:
        raise DirectionError(f"Unknown attribute {name!r}.", f"Known: {', '.join(labelled.scores)}.")
    return key


def _maybe(name: str, labelled: LabelledLatents) -> str | None:
    from latentedit.networks.perception import ALIASES

    return next((key for key in (name, ALIASES.get(name, name)) if key in labelled.scores), None)


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


def _summary(direction: Direction) -> str:
    text = f"{direction.name}: accuracy {100 * (direction.accuracy or 0):.1f} %"
    if "way" in direction.settings:
        names = ", ".join(direction.settings["conditioned_on"]) or "nothing"
        layers = "all" if direction.layers is None else f"{direction.layers[0]}-{direction.layers[-1]}"
        text += f", along the {direction.settings['way']}, conditioned on {names}, layers {layers}"
    if direction.calibration is not None:
        text += f", scores {direction.calibration.scores[0]:.3g} to {direction.calibration.scores[-1]:.3g}"
    return text


def _plain(value: object) -> object:
    """Tuples as lists, so that settings read back equal what was written."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
