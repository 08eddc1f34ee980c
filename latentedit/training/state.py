"""Training state that survives interruption: atomic checkpoints, weight averages, and metrics as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentedit.errors import ModelError
from latentedit.files import atomic_path


def save_state(path: str | Path, parts: Mapping[str, Any]) -> None:
    """Write modules' and optimisers' state dicts (anything with ``state_dict``) and plain values to one file."""
    state = {name: part.state_dict() if hasattr(part, "state_dict") else part for name, part in parts.items()}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: str | Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Restore what `save_state` wrote into ``parts`` (None takes the value as it is) and return the plain values.

    Raises:
        ModelError: the file lacks a part that is asked for.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    missing = [name for name in parts if name not in state]
    if missing:
        raise ModelError(f"{str(path)!r} lacks {missing}.", "Start the stage that makes them first.")
    for name, part in parts.items():
        if hasattr(part, "load_state_dict"):
            part.load_state_dict(state[name])
    return {name: value for name, value in state.items() if not hasattr(parts.get(name), "load_state_dict")}


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``module`` by ``1 - decay`` (weight EMA, Karras et al. 2018); buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for own, other in zip(average.buffers(), module.buffers(), strict=True):
        own.copy_(other)


class MetricsFile:
    """Appends one JSON object per line to ``path``; keeps what an earlier part of the run wrote."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: Any) -> None:
        """Append ``values``; tensors become numbers."""
        plain = {key: round(float(value), 6) if not isinstance(value, str) else value for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")
