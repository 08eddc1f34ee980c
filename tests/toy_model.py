"""A generator whose pictures spell out their latents, and a perception network that reads them: exact ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

W_DIM = 24
RANGE = 16.0
"""Latents are drawn divided by this, so that they stay between -1 and 1."""
LAYERS = 6


class ToyMapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        mixing = np.random.RandomState(1).randn(W_DIM, W_DIM) / W_DIM**0.5 + np.eye(W_DIM)
        self.register_buffer("mixing", torch.from_numpy(mixing).float())
        self.register_buffer("w_avg", torch.full([W_DIM], 0.5))

    def forward(self, z: Tensor, c: Tensor | None = None, *, truncation_psi: float = 1.0) -> Tensor:
        w = self.w_avg + truncation_psi * (z @ self.mixing)
        return w[:, None].repeat(1, LAYERS, 1)


class ToySynthesis(nn.Module):
    """A picture of 3 x LAYERS x W_DIM pixels that shows ``ws`` in its first channel."""

    layer_resolutions = (4, 4, 8, 8, 16, 16)
    preview_resolutions = ()

    def forward(self, ws: Tensor, *, noise_mode: str = "const", noise: object = None) -> Tensor:
        return torch.stack([ws, ws, ws], 1) / RANGE


class ToyGenerator(nn.Module):
    z_dim = w_dim = W_DIM
    c_dim, num_ws, resolution = 0, LAYERS, 16

    def __init__(self) -> None:
        super().__init__()
        self.mapping = ToyMapping()
        self.synthesis = ToySynthesis()
        self.scale = nn.Parameter(torch.ones(()))


class Seen(dict[str, Tensor]):
    """Scores by name, and the latents that they were read from."""

    def __init__(self, scores: Mapping[str, Tensor], ws: Tensor) -> None:
        super().__init__(scores)
        self.ws = ws

    def scores(self) -> dict[str, Tensor]:
        return dict(self)


class ToyPerception(nn.Module):
    """Scores that are known functions of the latents.

    age = 40 + 8 a.w (all layers), smile = sigmoid(2 s.w) (all layers), yaw = 10 y.w (the first two layers only),
    rare = sigmoid(3 r.w - 7): few samples have it. ``s`` leans towards ``a``: |cos| 0.5.
    """

    units: ClassVar = {
        "age": "years",
        "smile": "probability",
        "yaw": "degrees",
        "gender": "probability",
        "rare": "probability",
    }

    def __init__(self) -> None:
        super().__init__()
        basis = np.linalg.qr(np.random.RandomState(2).randn(W_DIM, W_DIM))[0].T
        normals = {"age": basis[0], "yaw": basis[2], "gender": basis[3], "rare": basis[4]}
        normals["smile"] = 0.5 * basis[0] + 0.75**0.5 * basis[1]
        for name, normal in normals.items():
            self.register_buffer(name, torch.from_numpy(normal).float())
        self.calls = 0

    def perceive(self, images: Tensor) -> Seen:
        self.calls += len(images)
        ws = images[:, 0] * RANGE - 0.5
        w, first = ws.mean(1), ws[:, :2].mean(1)
        scores: Mapping[str, Tensor] = {
            "age": 40 + 8 * (w @ self.age),
            "smile": torch.sigmoid(2 * (w @ self.smile)),
            "yaw": 10 * (first @ self.yaw),
            "gender": torch.sigmoid(4 * (w @ self.gender)),
            "rare": torch.sigmoid(3 * (w @ self.rare) - 7),
        }
        return Seen(scores, ws)

    def identity_distance(self, a: Seen, b: Seen) -> Tensor:
        """Persons differ by what no score looks at."""
        shift = (a.ws - b.ws).mean(1)
        scored = torch.linalg.qr(torch.stack([self.age, self.smile, self.yaw, self.gender, self.rare], 1))[0]
        return (shift - shift @ scored @ scored.T).norm(dim=1) / 5
