"""How far to go: from amounts in units to distances along normals, checked on the face itself.

Legend: ``N`` subjects, ``L`` style layers, ``K`` attributes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latentedit.attributes import WORN, canonical, even, get_unit
from latentedit.directions.direction import Direction, OutOfRangeWarning
from latentedit.editing.broyden import Goal, approach
from latentedit.editing.subject import Subject, score_or_none
from latentedit.editing.targets import Request
from latentedit.networks import Perception

warnings.filterwarnings("always", category=OutOfRangeWarning, append=True)  # every edit says it; users' filters win

NEAR_ENOUGH = 0.1
"""Probabilities that exceed the one asked for by less, seen from 0.5, are left as they are."""

_SURE = 0.95
_OPAQUE = 0.8
"""Share of the distance to a score of `_SURE` that what is worn goes on by where 1 is asked for."""


def move(
    ws: Tensor, steps: Sequence[tuple[Direction, Tensor | float]], *, layers: tuple[int, ...] | None = None
) -> Tensor:
    """``ws`` [N,L,w_dim] moved by pairs of `Direction` and distance (a number or [N]); nothing is rendered."""
    moved = ws
    for direction, distance in steps:
        moved = moved + direction.displacement(ws, distance, layers=layers)
    return moved


def find_distances(
    subject: Subject, requests: Sequence[Request], layers: tuple[int, ...] | None, verify: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Distances [N,K] of all requests, and the target scores [N] of those that were measured."""
    completions = [_completion(request) for request in requests]
    requests = [_until_sure(request) for request in requests]
    seen = subject.perceive() if verify and any(r.amount is not None for r in requests) else None
    columns: list[Tensor] = []
    targets: dict[str, Tensor] = {}
    for request in requests:
        if request.amount is None:
            assert request.distance is not None
            columns.append(request.distance)
            continue
        current = None if seen is None else score_or_none(seen, request.name)
        start = request.direction.distance_for(subject.ws, request.amount, current=current, layers=layers)
        if current is not None:
            done = _near_enough(request, current)
            targets[request.name] = torch.where(done, current, _target(request, current))
            start = torch.where(done, torch.zeros_like(start), start)
        columns.append(start)
    distances = torch.stack(columns, dim=1) if columns else subject.ws.new_zeros(len(subject), 0)
    if seen is not None and targets:
        distances = _corrected(subject, requests, layers, distances, targets, seen)
    for k, completion in enumerate(completions):
        distances[:, k] *= completion
    return distances, targets


def _is_worn(request: Request) -> bool:
    return request.amount is not None and canonical(request.name) in WORN and request.direction.is_target


def _until_sure(request: Request) -> Request:
    """The request, up to the score from which `_completion` takes over."""
    if not _is_worn(request):
        return request
    assert request.amount is not None
    return replace(request, amount=request.amount.clamp(max=_SURE))


def _completion(request: Request) -> Tensor | float:
    """Factors [N] that put on fully what is worn: the network is sure of a mask or of glasses from a hint, and asked
    for a score of 1 they are to hide what is behind them."""
    if not _is_worn(request):
        return 1.0
    assert request.amount is not None
    return 1 + _OPAQUE * ((request.amount - _SURE) / (1 - _SURE)).clamp(0, 1)


def _near_enough(request: Request, current: Tensor) -> Tensor:
    """Rows [N] that show a little more than what is asked for: nobody sees a smile of 0.99 turn into one of 0.9."""
    assert request.amount is not None
    if not request.direction.is_target:
        return request.amount == 0
    wanted = request.amount.to(current)
    return ((current - wanted).abs() <= NEAR_ENOUGH) & ((current - wanted) * (wanted - 0.5) >= 0)


def _target(request: Request, current: Tensor) -> Tensor:
    assert request.amount is not None
    assert request.direction.calibration is not None
    low, high = request.direction.calibration.limits
    if request.direction.is_target:
        return request.amount.clamp(low, high)
    target = (current + request.amount).clamp(low, high)  # and a face beyond the end is left there, not led back
    return torch.where(request.amount > 0, torch.maximum(target, current), torch.minimum(target, current))


def _corrected(
    subject: Subject,
    requests: Sequence[Request],
    layers: tuple[int, ...] | None,
    distances: Tensor,
    targets: Mapping[str, Tensor],
    seen: Perception,
) -> Tensor:
    """Distances [N,K] after looking at what they do; columns without a target stay as they are."""
    columns = [k for k, request in enumerate(requests) if request.name in targets]
    chosen = [requests[k] for k in columns]
    units = [request.direction.unit for request in chosen]

    def measure(tried: Tensor) -> Tensor:
        attempt = distances.clone()
        attempt[:, columns] = tried.to(attempt)
        ws = move(subject.ws, [(r.direction, attempt[:, k]) for k, r in enumerate(requests)], layers=layers)
        now = subject.with_ws(ws).perceive()
        return torch.stack([even(now[r.name], name) for r, name in zip(chosen, units, strict=True)], dim=1)

    base = torch.stack([even(seen[r.name], name) for r, name in zip(chosen, units, strict=True)], dim=1)
    wanted = torch.stack([even(targets[r.name], name) for r, name in zip(chosen, units, strict=True)], dim=1)
    done = torch.stack([_near_enough(r, seen[r.name]) for r in chosen], dim=1)
    wanted = torch.where(done, base, wanted)
    slopes = torch.tensor([_slope(request) for request in chosen], dtype=torch.float64, device=base.device)
    limits = torch.stack(
        [_furthest(r, subject.ws, seen[r.name], distances[:, k], layers) for r, k in zip(chosen, columns, strict=True)],
        dim=1,
    ).double()
    tolerances = torch.tensor([get_unit(name).tolerance for name in units], dtype=torch.float64, device=base.device)
    goal = Goal(
        base=base,
        targets=wanted,
        start=distances[:, columns].double().clamp(-limits, limits),
        slopes=slopes.expand_as(base),
        limits=limits,
        tolerances=tolerances,
    )
    found, _ = approach(measure, goal)
    corrected = distances.clone()
    corrected[:, columns] = found.to(corrected)
    return corrected


def _slope(request: Request) -> float:
    """Change of the even score per unit of distance, over the whole measured range."""
    calibration = request.direction.calibration
    assert calibration is not None
    ends = even(torch.tensor([calibration.scores[0], calibration.scores[-1]]), request.direction.unit)
    return float(ends[1] - ends[0]) / (calibration.distances[-1] - calibration.distances[0])


def _furthest(request: Request, ws: Tensor, current: Tensor, start: Tensor, layers: tuple[int, ...] | None) -> Tensor:
    """How far [N] an edit may go: to a sixth of the measured range beyond its end, and as far as that in any case.

    Further out nothing is known of the direction, and faces come apart before their score is reached. A face stands on
    the curve where its ``current`` score does; saturated probabilities stand as far beyond its end as their latents.
    """
    calibration = request.direction.calibration
    assert calibration is not None
    low, high = calibration.distances[0], calibration.distances[-1]
    at = calibration.distance_at(current)
    if request.direction.is_target:
        own = request.direction.distance(ws, layers=layers).to(at)
        at = torch.where(start >= 0, torch.minimum(at, own), torch.maximum(at, own))
    margin = (high - low) / 6
    return torch.where(start >= 0, high + margin - at, at - low + margin).clamp_min(margin)
