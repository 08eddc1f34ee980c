"""Checkpoints, averages, and metrics of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from latentedit.errors import ModelError
from latentedit.training.state import MetricsFile, load_state, save_state, update_average


def test_a_checkpoint_restores_modules_and_returns_the_rest(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    save_state(tmp_path / "s.pt", {"layer": first, "step": 7})
    assert load_state(tmp_path / "s.pt", {"layer": second, "step": None}) == {"step": 7}
    assert torch.equal(first.weight, second.weight)
    with pytest.raises(ModelError, match=r"lacks \['other'\]"):
        load_state(tmp_path / "s.pt", {"other": second})


def test_the_average_follows_weights_and_copies_buffers() -> None:
    average, module = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    module.weight.data.fill_(3.0)
    module.running_mean.fill_(5.0)
    update_average(average, module, 0.75)
    assert average.weight.item() == 1.5
    assert average.running_mean.item() == 5.0


def test_metrics_are_appended(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "run" / "m.jsonl").write(images=1, loss=torch.tensor(0.1234567))
    MetricsFile(tmp_path / "run" / "m.jsonl").write(images=2)
    lines = (tmp_path / "run" / "m.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"images": 1.0, "loss": 0.123457}, {"images": 2.0}]
