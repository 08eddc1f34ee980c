"""What an edit did: to whom one looks like, to what was asked for, and to everything else.

Legend: ``N`` subjects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latentedit.attributes import canonical
from latentedit.editing.result import perceive, score_or_none
from latentedit.images import to_tensor

if TYPE_CHECKING:
    from latentedit.editing.result import Edit


def measure_edit(edit: Edit) -> list[dict[str, Any]]:
    """The dictionaries of `Edit.all_metrics`, in JSON values."""
    perception = edit.subject.model.require("perception")
    seen, now = perceive(edit.before, edit.pixels_before), perceive(edit.subject, edit.pixels)
    cosine = nn.functional.cosine_similarity(seen.identity, now.identity, dim=1)
    distance = perception.identity_distance(seen, now)
    before, after = seen.scores(), now.scores()
    asked_names = {canonical(name) for name in edit.asked}
    to_photo = _identity_to_photo(edit, now)
    rows = []
    for row in range(len(edit)):
        metrics: dict[str, Any] = {
            "identity": _number(cosine[row]),
            "identity_distance": _number(distance[row]),
            "asked": {name: _asked(edit, name, row, seen, now) for name in edit.asked},
            "others": {
                name: _number(after[name][row] - before[name][row]) for name in before if name not in asked_names
            },
        }
        if to_photo[row] is not None:
            metrics["identity_to_photo"] = to_photo[row]
        rows.append(metrics)
    return rows


def _asked(edit: Edit, name: str, row: int, seen: Any, now: Any) -> dict[str, Any]:
    asked = edit.asked[name]
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


def _identity_to_photo(edit: Edit, now: Any) -> list[float | None]:
    origins = edit.before.origins or (None,) * len(edit)
    result: list[float | None] = [None] * len(edit)
    for row, origin in enumerate(origins):
        if origin is None:
            continue
        crop = to_tensor(origin.target).to(edit.ws.device)
        with torch.no_grad():
            person = edit.subject.model.require("perception").perceive(crop).identity
        result[row] = _number((person[0] * now.identity[row]).sum())
    return result


def _number(value: Tensor | float) -> float:
    return round(float(value), 4)
