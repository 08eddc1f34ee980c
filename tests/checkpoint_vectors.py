"""The reference vectors of the formats, and the drawn weights that belong to them (see tests/golden)."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"


def load(name: str) -> tuple[Any, dict[str, Any]]:
    """Arrays and metadata of a reference file."""
    arrays = np.load(FOLDER / f"{name}.npz")
    return arrays, json.loads(str(arrays["meta"]))


def state(arrays: Any) -> dict[str, torch.Tensor]:
    return {name[6:]: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("state/")}


def relative_error(value: Any, reference: Any) -> float:
    """``max|value - reference| / max|reference|``."""
    a, b = torch.as_tensor(value).double(), torch.as_tensor(reference).double()
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def _draw(seed: str, shape: list[int]) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(seed.encode()))
    return random.standard_normal(math.prod(shape)).reshape(shape)


def stylegan1_variables(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """TensorFlow variables of the StyleGAN 1 reference, with the prefixes of their components."""
    result: dict[str, np.ndarray] = {"synthesis/lod": np.float32(0)}
    for name, shape in shapes.items():
        value = _draw(f"sg1/{name}", shape)
        if name.startswith("Dense"):
            value *= 100 if name.endswith("weight") else 10
        elif name.endswith(("bias", "Noise/weight")) or name == "dlatent_avg":
            value *= 0.1
        prefix = "" if name == "dlatent_avg" else "mapping/" if name.startswith("Dense") else "synthesis/"
        result[prefix + name] = value.astype(np.float32)
    return result


def rosinality_state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """State dict of the rosinality reference."""
    result = {}
    for key, shape in shapes.items():
        if key.endswith("kernel"):
            kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
            result[key] = torch.from_numpy(kernel * 4).float()
            continue
        value = _draw(key, shape)
        if "modulation.bias" in key:
            value = 1 + 0.1 * value
        elif key.endswith((".bias", "noise.weight")):
            value = 0.1 * value
        if key.startswith("style.") and key.endswith(".weight"):
            value /= 0.01
        result[key] = torch.from_numpy(value).float()
    return result


def encoder_state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """State dict of the encoder references."""
    result: dict[str, torch.Tensor] = {}
    for key, shape in shapes.items():
        leaf = key.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            result[key] = torch.tensor(0)
            continue
        value = _draw(key, shape)
        if leaf == "running_var":
            value = 1 + 0.1 * abs(value)
        elif leaf in ("running_mean", "bias"):
            value *= 0.1
        elif value.ndim == 1:
            value = 1 + 0.1 * value
        elif value.ndim == 4:
            value *= math.sqrt(1.5 / math.prod(shape[1:]))
        result[key] = torch.from_numpy(value).float()
    return result
