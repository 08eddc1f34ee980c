"""What the tests of the kernels share: dtypes with their tolerances, golden vectors, and the measure of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2.5e-2}
"""Largest error as a share of 1 plus the largest value: a few units in the last place of each dtype."""


def golden_cases(name: str) -> list[Any]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return [pytest.param(case, id=case["key"]) for case in json.loads(str(file["cases"]))]


def golden_arrays(name: str, key: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k.removeprefix(f"{key}/"): torch.from_numpy(file[k]) for k in file.files if k.startswith(f"{key}/")}


def error(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference as a share of 1 plus the largest value; NaN where a value was never written."""
    assert value.shape == reference.shape
    if value.numel() == 0:
        return 0.0
    value, reference = value.detach(), reference.detach()
    return float((value.double() - reference.double()).abs().max() / (1 + reference.double().abs().max()))
