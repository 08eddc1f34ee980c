"""From what was asked for by name to directions and distances.

Legend: ``N`` subjects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentedit.attributes import plain, resolve
from latentedit.directions import Direction, list_directions, load_direction
from latentedit.errors import DirectionError
from latentedit.models import Model

Amount = float | int | Sequence[float] | Tensor
FARTHEST = 100.0
"""The largest distance along a direction that is taken for meant; faces end at a tenth of it."""

_TYPED = "Write for example --age 10, --smile 0.8."
Directions = Mapping[str, Direction | str | os.PathLike[str]] | str | os.PathLike[str]


@dataclass(frozen=True)
class Request:
    """One attribute to change: ``amount`` [N] in its unit, or ``distance`` [N] along the normal; the other is None."""

    name: str
    direction: Direction
    amount: Tensor | None = None
    distance: Tensor | None = None

    @property
    def count(self) -> int:
        value = self.distance if self.amount is None else self.amount
        return 1 if value is None else len(value)


@dataclass(frozen=True)
class Asked:
    """What was asked of an attribute, per row: ``amount`` in ``unit`` (None where a distance was given), the ``target``
    score (None where nothing was measured), and the ``distance`` that the latent moved."""

    unit: str
    distance: tuple[float, ...]
    amount: tuple[float, ...] | None = None
    target: tuple[float, ...] | None = None

    @classmethod
    def of(cls, request: Request, distance: Tensor, target: Tensor | None = None) -> Asked:
        amount = None if request.amount is None else tuple(request.amount.tolist())
        return cls(
            request.direction.unit,
            tuple(distance.tolist()),
            amount,
            None if target is None else tuple(target.tolist()),
        )


def read_requests(
    model: Model,
    attributes: Mapping[str, Amount],
    distances: Mapping[str, Amount] | None = None,
    directions: Directions | None = None,
) -> list[Request]:
    """Find the direction of everything that was asked for, and bring the amounts into shape.

    Raises:
        DirectionError: an unknown attribute (the known ones are listed), one asked for twice, an amount that is no
            finite number or no score, or a distance beyond `FARTHEST`.
        FingerprintError: a direction of another generator.
    """
    known = known_directions(model, directions)
    requests: dict[str, Request] = {}
    for kind, asked in (("amount", attributes), ("distance", distances or {})):
        for written, value in asked.items():
            name = _known_name(written, known, model)
            if name in requests:
                raise DirectionError(f"{name!r} is asked for twice.", "Give an amount or a distance, not both.")
            direction, numbers = _direction(known[name], model), _numbers(written, value)
            if kind == "amount":
                direction.check_amount(numbers)
            elif bool((numbers.abs() > FARTHEST).any()):
                worst = float(numbers[numbers.abs().argmax()])
                raise DirectionError(
                    f"A distance of {worst:g} along {name!r} lies beyond every face.", f"Stay within +-{FARTHEST:g}."
                )
            requests[name] = Request(name, direction, **{kind: numbers})
    return list(requests.values())


def known_directions(model: Model, directions: Directions | None = None) -> dict[str, Direction | Path]:
    """Every attribute that can be asked for: the model's directions, and those given, which win."""
    known: dict[str, Direction | Path] = dict(list_directions(model))
    if isinstance(directions, Mapping):
        for name, value in directions.items():
            known[plain(name)] = value if isinstance(value, Direction) else Path(value)
    elif directions is not None:
        folder = Path(directions)
        if not folder.is_dir():
            raise DirectionError(f"{str(folder)!r} is no folder of directions.", "Give a folder, or a dictionary.")
        known |= {plain(path.stem): path for path in sorted(folder.glob("*.safetensors"))}
    return known


def _known_name(written: str, known: Iterable[str], model: Model) -> str:
    names = sorted(known)
    remedy = f"Known for {model.name!r}: {', '.join(names)}."
    if not names:
        remedy = (
            f"The model {model.name!r} has no directions. Fit one with `latentedit-direction fit`, or import one with "
            "`latentedit-direction import`."
        )
    return resolve(written, names, remedy=remedy)


def _direction(found: Direction | Path, model: Model) -> Direction:
    return found.of(model) if isinstance(found, Direction) else load_direction(found, model)


def _numbers(name: str, value: Any) -> Tensor:
    try:
        numbers = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DirectionError(
            f"{name}={value!r} is no number.", "Write for example age=10, smile=0.8.", typed=_TYPED
        ) from error
    if not numbers.numel() or not bool(torch.isfinite(numbers).all()):
        raise DirectionError(
            f"{name}={value!r} is no finite number.", "Write for example age=10, smile=0.8.", typed=_TYPED
        )
    return numbers
