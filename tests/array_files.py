"""Files of arrays in the shapes that other projects write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


def write(path: Path, value: object) -> Path:
    if path.suffix == ".pt":
        torch.save(value, path)
    elif path.suffix == ".npz":
        np.savez(path, **value)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        save_file(value, path)  # type: ignore[arg-type]
    else:
        np.save(path, value, allow_pickle=True)  # type: ignore[arg-type]
    return path
