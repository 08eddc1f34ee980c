"""What an edit did: to whom one looks like, to what was asked for, and to everything else.

Legend: ``N`` subjects, ``R`` resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from latentedit.attributes import canonical
from latentedit.editing.subject import Subject, score_or_none
from latentedit.editing.targets import Asked
from latentedit.images import to_tensor
from latentedit.networks import Perception


def measure_edit(
    before: Subject, subject: Subject, asked: Mapping[str, Asked], pixels: tuple[Tensor, Tensor]
) -> list[dict[str, Any]]:
    """What made ``subject`` of ``before``, whose ``pixels`` [N,3,R,R] are given, in JSON values; see `Edit`.

    Raises:
        ModelError: the model has no perception network.
    """
    perception = subject.model.require("perception")
    seen, now = before.perceive(pixels[0]), subject.perceive(pixels[1])
    cosine = nn.functional.cosine_similarity(seen.identity, now.identity, dim=1)
    distance = perception.identity_distance(seen, now)
    first, last = seen.scores(), now.scores()
    asked_names = {canonical(name) for name in asked}
    to_photo = _identity_to_photo(before, now)
    rows = []
    for row in range(len(subject)):
        metrics: dict[str, Any] = {
            "identity": _number(cosine[row]),
            "identity_distance": _number(distance[row]),
            "asked": {name: _asked(name, what, row, seen, now) for name, what in asked.items()},
            "others": {name: _number(last[name][row] - first[name][row]) for name in first if name not in asked_names},
        }
        if to_photo[row] is not None:
            metrics["identity_to_photo"] = to_photo[row]
        rows.append(metrics)
    return rows


def _asked(name: str, asked: Asked, row: int, seen: Perception, now: Perception) -> dict[str, Any]:
    result: dict[str, Any] = {"unit": asked.unit, "distance": _number(asked.distance[row])}
    for key in ("amount", "target"):
        value = getattr(asked, key)
        if value is not None:
            result[key] = _number(value[row])
    before, after = score_or_none(seen, name), score_or_none(now, name)
    if before is not None and after is not None:
        result["before"], result["after"] = _number(before[row]), _number(after[row])
        result["change"] = _number(after[row] - before[row])
    return result


def _identity_to_photo(before: Subject, now: Perception) -> list[float | None]:
    result: list[float | None] = [None] * len(before)
    for row, origin in enumerate(before.origins):
        if origin is not None:
            person = before.perceive(to_tensor(origin.target).to(before.ws.device)).identity
            result[row] = _number((person[0] * now.identity[row]).sum())
    return result


def _number(value: Tensor | float) -> float:
    return round(float(value), 4)
