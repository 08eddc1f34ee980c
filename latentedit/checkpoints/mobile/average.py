"""``w_avg`` of a mapping network whose checkpoint has none: the same to the bit on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from latentedit.checkpoints.checkpoint import State
from latentedit.errors import LatentEditError
from latentedit.files import atomic_path, cache_folder

COUNT = 10_000
"""Latents behind ``w_avg``: the mean of w over ``RandomState(0).randn(10000, z_dim)``, computed in float64."""
_GRID = 1 << 16
"""The mean is rounded to multiples of its inverse: sums differ in their last digits from machine to machine, and the
fingerprint of a generator covers ``w_avg``."""
_CHUNK = 1000
WORTH_KEEPING = 1 << 18
"""Weights from which on the mean is kept in the cache folder; it takes less time than a file in smaller networks."""


def average_latent(state: State, layers: int, lr_multiplier: float) -> torch.Tensor:
    """``w_avg`` [w_dim] for the mapping network ``mapping.fc{i}`` in ``state``; kept in the user's cache folder."""
    matrices = [_acting(state, i, lr_multiplier) for i in range(layers)]
    digest = hashlib.sha256(f"{COUNT} {_GRID} {lr_multiplier!r}".encode())
    for weight, bias in matrices:
        digest.update(f"{weight.shape}".encode() + weight.tobytes() + bias.tobytes())
    if sum(weight.size for weight, _ in matrices) < WORTH_KEEPING:
        return torch.from_numpy(_computed(matrices))
    path = cache_folder("averages") / f"{digest.hexdigest()[:32]}.f32"
    kept = _kept(path, matrices[-1][1].shape)
    if kept is None:
        kept = _computed(matrices)
        _keep(path, kept)
    return torch.from_numpy(kept)


def _acting(state: State, layer: int, lr_multiplier: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix [in, out] and bias that a layer multiplies by and adds."""
    weight, bias = (state[f"mapping.fc{layer}.{leaf}"].double().numpy() for leaf in ("weight", "bias"))
    return weight.T * (lr_multiplier / weight.shape[1] ** 0.5), bias * lr_multiplier


def _computed(matrices: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    random = np.random.RandomState(0)
    total = np.zeros_like(matrices[-1][1])
    with np.errstate(all="ignore"):  # values that are not finite are refused when the generator is put together
        for _ in range(COUNT // _CHUNK):
            x = random.randn(_CHUNK, matrices[0][0].shape[0])
            x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)
            for weight, bias in matrices:
                x = x @ weight + bias
                x = np.where(x < 0, 0.2 * x, x) * 2**0.5
            total += x.sum(axis=0)
        return (np.round(total / COUNT * _GRID) / _GRID).astype(np.float32)


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """What an earlier process computed: the numbers and their SHA-256; None where it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    values, digest = content[:-32], content[-32:]
    if hashlib.sha256(values).digest() != digest or len(values) != 4 * shape[0]:
        return None
    return np.frombuffer(values, "<f4").copy()


def _keep(path: Path, values: np.ndarray) -> None:
    content = values.astype("<f4").tobytes()
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + hashlib.sha256(content).digest())
    except LatentEditError:  # a folder that cannot be written to costs a second each time, no more
        return
