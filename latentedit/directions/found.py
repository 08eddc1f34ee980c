"""What directions that nobody labelled do: attributes and parts of the face they change, and names from that.

Legend: ``F`` faces, ``L`` rows of ws, ``R`` resolution of the probe's pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.attributes import canonical, get, get_unit
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.probe import Probe

NOTED = 0.15
"""Least change that is told of, as a share of the unit's span (see `Unit`): 0.15 of a probability, 1.5 years."""

NAMED = 0.3
"""Least change, as a share of the span, that a direction is named after an attribute for."""

LOCAL = 0.5
"""Share of the picture's change from which on one part of the face gives the name, unless an attribute changes by as
much of its span: white eyes make older by four years, but what they are is eyes."""

TELLING = {"shape": 0.6, "light": 0.4}
"""How much a change counts for the name, by group of attributes (others: 1): a smile also raises the cheekbones, and a
beard darkens the picture."""

_UNSAID = frozenset({"young"})  # age says it


@dataclass(frozen=True)
class Found:
    """What one direction does over a move of ``step`` each way, the mean over faces.

    ``effects`` are (attribute, change in its unit) from the most telling on; ``regions`` (part of the face, its share
    of the squared change of the picture, that change per pixel as a multiple of the picture's mean); ``change`` is the
    root mean square change of the pixels, from 0 to 2; ``identity`` the distance between both ends.
    """

    direction: Direction
    method: str
    step: float
    effects: tuple[tuple[str, float], ...]
    regions: tuple[tuple[str, float, float], ...]
    change: float
    identity: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, without the direction itself."""
        plain = asdict(self)
        plain.pop("direction")
        return {"name": self.direction.name, **plain}


def measure_found(
    probe: Probe, direction: Direction, ws: Tensor, *, method: str, step: float, regions: Mapping[str, np.ndarray]
) -> Found:
    """Move ``ws`` [F, L, D] by ``step`` both ways along ``direction``, and look; ``regions`` are masks [R, R].

    The direction is turned so that what changes most becomes more, and named by `name_found`.
    """
    low = probe.images(ws + direction.displacement(ws, -step))
    high = probe.images(ws + direction.displacement(ws, step))
    with torch.no_grad():
        (before, early), (after, late) = probe.read(low), probe.read(high)
        identity = float(probe.perception.identity_distance(before, after).mean())
    changes = {name: float((late[name] - early[name]).double().mean()) for name in early}
    energy = (high - low).double().square().mean((0, 1)).cpu().numpy()
    effects = _sorted(changes, probe.units)
    if effects and effects[0][1] < 0:
        direction = direction.with_(normal=-direction.normal, intercept=-direction.intercept)
        effects = [(name, -change) for name, change in effects]
    return Found(
        direction, method, step, tuple(effects), _shares(energy, regions), float(np.sqrt(energy.mean())), identity
    )


def _sorted(changes: Mapping[str, float], units: Mapping[str, str]) -> list[tuple[str, float]]:
    """Changes worth telling, those after which directions are named first."""
    spans = {name: abs(change) / get_unit(units[name]).span for name, change in changes.items()}
    told = [name for name, share in spans.items() if share >= NOTED and name not in _UNSAID]
    return [(name, round(changes[name], 3)) for name in sorted(told, key=lambda n: -spans[n] * _telling(n))]


def _telling(name: str) -> float:
    attribute = get(name)
    return TELLING.get(attribute.group, 1.0) if attribute is not None else 1.0


def _shares(energy: np.ndarray, regions: Mapping[str, np.ndarray]) -> tuple[tuple[str, float, float], ...]:
    total, mean = max(float(energy.sum()), 1e-12), max(float(energy.mean()), 1e-12)
    found = [
        (name, round(float(energy[mask].sum()) / total, 3), round(float(energy[mask].mean()) / mean, 2))
        for name, mask in regions.items()
    ]
    return tuple(sorted(found, key=lambda row: -row[2]))


def name_found(found: Found, units: Mapping[str, str], taken: Collection[str]) -> str:
    """A name for a direction by what it does: the attribute that changes most, a second that changes nearly as much, or
    else the part of the face; not one of ``taken``."""
    weights = {name: abs(change) / get_unit(units[name]).span * _telling(name) for name, change in found.effects}
    local = bool(found.regions) and found.regions[0][1] >= LOCAL
    strong = [name for name, _ in found.effects if weights[name] >= (LOCAL if local else NAMED)]
    if strong:
        first = strong[0]
        second = next((n for n in strong[1:] if weights[n] >= 0.6 * weights[first] and not _kindred(first, n)), None)
        base = first if second is None else f"{first}_{second}"
    else:
        base = found.regions[0][0] if found.regions else found.method
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _kindred(a: str, b: str) -> bool:
    """Whether saying both says little more than one: beard and goatee, make-up and lipstick."""
    first, second = get(a), get(b)
    return first is not None and second is not None and first.group == second.group and first.group != "face"


def named(results: Sequence[Found], units: Mapping[str, str]) -> list[Found]:
    """``results`` with names from what they do, no two alike."""
    taken: set[str] = set()
    renamed = []
    for found in results:
        name = name_found(found, units, taken)
        taken.add(name)
        direction = found.direction.with_(name=name, settings={**found.direction.settings, "found": _told(found)})
        renamed.append(Found(**{**vars(found), "direction": direction}))
    return renamed


def _told(found: Found) -> dict[str, Any]:
    return {"as": found.direction.name, "effects": dict(found.effects), "regions": {n: s for n, s, _ in found.regions}}


def describe_found(found: Found, units: Mapping[str, str]) -> str:
    """One line: attributes with their changes, where the picture changes, and how much the person does."""
    parts = []
    for name, change in found.effects[:4]:
        unit = get_unit(units[name])
        suffix = f" {unit.name}" if unit.name in ("years", "degrees") else ""
        label = get(name) or get(canonical(name))
        shown = label.label if label is not None else name
        parts.append(f"{shown} {change:+.{unit.digits}f}{suffix}")
    where = ", ".join(f"{name} {share:.0%}" for name, share, _ in found.regions[:2])
    return f"{', '.join(parts) or 'nothing that has a name'}; {where}; identity {found.identity:.2f}"
