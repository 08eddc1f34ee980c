"""Prepared forms of frozen weights, made once and kept as long as the weight itself."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_SAMPLES = 64


@dataclass
class _Entry:
    owner: weakref.ref[Tensor]
    stamp: tuple[int, int, torch.device]
    sample: Tensor | None
    value: Tensor


_entries: dict[tuple[int, str], _Entry] = {}
_lock = threading.Lock()


def prepared(weight: Tensor, kind: str, make: Callable[[Tensor], Tensor]) -> Tensor:
    """``make(weight)``, remembered under ``kind`` until the weight changes or dies. The caller must not write into it.

    Changes are seen by the tensor's version, its address, and on the CPU by a sample of its values, because writing
    through ``.data`` counts no version: see `forget_prepared`.
    """
    key = (id(weight), kind)
    stamp = (weight.data_ptr(), weight._version, weight.device)
    sample = _sample(weight)
    entry = _entries.get(key)
    if entry is not None and entry.owner() is weight and entry.stamp == stamp and _same(entry.sample, sample):
        return entry.value
    with torch.no_grad():
        value = make(weight.detach())
    owner = weakref.ref(weight, lambda _: _entries.pop(key, None))
    with _lock:
        _entries[key] = _Entry(owner, stamp, sample, value)
    return value


def forget_prepared() -> None:
    """Make every frozen weight be prepared anew at its next use.

    Needed only after writing into weights through ``.data``, of which PyTorch keeps no count: on a GPU always, on the
    CPU where only a few values change. Optimizers, ``load_state_dict``, assignments, moves to another device, and
    writing in place under ``torch.no_grad()`` are seen without it.
    """
    with _lock:
        _entries.clear()


def _sample(weight: Tensor) -> Tensor | None:
    if weight.device.type != "cpu" or not weight.is_contiguous():
        return None
    return weight.detach().view(-1)[:: max(1, weight.numel() // _SAMPLES)].clone()


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)
