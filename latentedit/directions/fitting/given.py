"""Units for directions that came from elsewhere: other projects' files, or what nobody labelled.

Legend: ``N`` latents.
"""

from __future__ import annotations

from latentedit.attributes import resolve
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.labelled import SampleConfig, sample_labelled
from latentedit.directions.fitting.moving import calibrate_by_moving, typical_step
from latentedit.directions.fitting.probe import LeakageMeter, Probe, score_spreads
from latentedit.errors import DirectionError


def calibrate_given(probe: Probe, direction: Direction, attribute: str | None, *, probes: int = 48) -> Direction:
    """``direction`` with units, measured by moving sampled latents along it; turned round if it points the other way.

    ``attribute`` None takes the one of the direction's own name. A direction that has a calibration, or of no known
    attribute, comes back as it is.

    Raises:
        DirectionError: ``attribute`` was given but is unknown, or moving along the direction does not change it.
    """
    units = probe.units
    if direction.calibration is not None:
        return direction
    try:
        key = resolve(attribute or direction.name, units)
    except DirectionError:
        if attribute is None:
            return direction
        raise
    labelled = sample_labelled(probe.generator, probe.perception, SampleConfig(count=max(probes, 256)))
    ws = probe.spread_ws(labelled.w[:probes])
    meter = LeakageMeter(probe, ws, own=key, spreads=score_spreads(labelled.scores, units))
    every = direction.distance(probe.spread_ws(labelled.w))
    step = direction.metrics.get("step")  # of a discovered direction: what shows plainly
    spread = float(step) / 2 if step else float(every.std())
    direction = direction.with_(unit=units[key], intercept=direction.intercept - float(every.mean()))
    if meter.measure(direction, spread).own < 0:
        direction = direction.with_(normal=-direction.normal, intercept=-direction.intercept)
    step, leakage = typical_step(meter, direction, spread)
    calibration = calibrate_by_moving(probe, direction, ws, score=key, half=3 * step)
    own = meter.spreads[key]
    metrics = {
        **direction.metrics,
        "spread": spread,
        "step": step,
        "effect": leakage.own * own,
        "identity": leakage.identity,
    }
    settings = {**direction.settings, "score": key}
    return direction.with_(calibration=calibration, metrics=metrics, settings=settings)
