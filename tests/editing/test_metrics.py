"""What an edit did, measured."""

from __future__ import annotations

import pytest
import torch

from latentedit.editing import edit
from latentedit.inversion import Inversion
from latentedit.models import Model


def test_metrics_tell_identity_and_what_else_changed(model: Model, inversion: Inversion, judge) -> None:
    changed = edit(inversion, model=model, distance={"age": 3})
    seen = judge.perceive(torch.cat([changed.pixels_before, changed.pixels]))
    metrics = changed.metrics
    assert metrics["identity"] == pytest.approx(float(seen.identity[0] @ seen.identity[1]), abs=1e-4)
    assert metrics["identity_distance"] == pytest.approx(float((seen.identity[0] - seen.identity[1]).norm()), abs=1e-4)
    assert metrics["asked"]["age"]["distance"] == 3
    assert metrics["asked"]["age"]["change"] == pytest.approx(float(seen["age"][1] - seen["age"][0]), abs=1e-3)
    assert metrics["others"] == {
        name: pytest.approx(float(seen[name][1] - seen[name][0]), abs=1e-4) for name in ("smile", "hat")
    }
    assert -1 <= metrics["identity_to_photo"] <= 1
    assert edit(inversion, model=model).metrics["identity"] == pytest.approx(1, abs=1e-4)
