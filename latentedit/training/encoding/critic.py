"""A critic of single rows of W+: whether a w could be the mapping network's (e4e, Tov et al. 2021, section 3.2).

It keeps the rows that an encoder gives where the generator was trained and where edits work.
Legend: ``N`` rows, ``D`` width of w; rows are in standard deviations along the principal axes of W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowCritic(nn.Module):
    """Coordinates [N,D] to logits [N]: positive for rows that look like the mapping network's."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows).squeeze(1)


class Critic:
    """A `RowCritic` with its optimiser: non-saturating logistic loss, R1 on the real rows (Mescheder et al. 2018)."""

    def __init__(self, width: int, *, learning_rate: float = 2e-4, r1: float = 1.0) -> None:
        self.network = RowCritic(width)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate, betas=(0.0, 0.99))
        self.r1 = r1

    def learn(self, real: Tensor, found: Tensor) -> Tensor:
        """One step on rows of the mapping network and rows of the encoder, [N,D] each; returns the loss."""
        real = real.detach().requires_grad_(True)
        self.network.requires_grad_(True)
        logits = self.network(real)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        penalty = 0.5 * self.r1 * slope.square().sum(dim=1).mean()
        loss = F.softplus(-logits).mean() + F.softplus(self.network(found.detach())).mean()
        self.optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        self.optimizer.step()
        return loss.detach()

    def judge(self, found: Tensor) -> Tensor:
        """What the encoder is to lower: how clearly its rows [N,D] are told from real ones."""
        self.network.requires_grad_(False)
        return F.softplus(-self.network(found)).mean()

    def state_dict(self) -> dict[str, object]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
