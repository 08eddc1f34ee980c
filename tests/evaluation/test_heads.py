"""Figures of small heads: equal pictures get perfect figures, and a checkered difference is told from noise."""

from __future__ import annotations

import pytest
import torch

from latentedit.evaluation.heads import SmallPicture, grid, judge_heads, summary
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileStyleGANGenerator


def test_a_grid_is_told_from_noise() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 3, 64, 64)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    checkered = torch.where((rows + columns) % 2 == 0, 1.0, -1.0) * torch.ones(1, 3, 1, 1)
    stripes = torch.where(columns % 2 == 0, 1.0, -1.0) * torch.ones(1, 3, 1, 1)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    assert grid(noise) == pytest.approx(1, abs=0.2)
    assert grid(noise + 0.5 * checkered) > 3
    assert grid(noise + 0.5 * stripes) > 3
    assert grid(smooth) < 0.3


class Averages:
    """Heads that are the full render averaged down."""

    def __init__(self, generator: MobileStyleGANGenerator) -> None:
        self.generator, self.levels = generator, {16: 8}

    def __call__(self, features: torch.Tensor, ws: torch.Tensor, resolution: int) -> torch.Tensor:
        full = self.generator.synthesis(ws).clamp(-1, 1)
        return torch.nn.functional.avg_pool2d(full, full.shape[-1] // resolution)


def test_perfect_heads_get_perfect_figures() -> None:
    torch.manual_seed(0)
    config = MobileStyleGANConfig(channels=(32, 32, 32, 16), z_dim=16, w_dim=16, mapping_layers=2)
    generator = MobileStyleGANGenerator(config).eval().requires_grad_(False)
    generator.synthesis.heads = Averages(generator)  # type: ignore[assignment]
    pictures = list(judge_heads(generator, 2))
    assert [picture.side for picture in pictures] == [16, 16]
    assert summary(pictures)[16]["psnr"] > 60


def test_figures_are_means_and_time_a_median() -> None:
    blank = torch.zeros(1, 3, 8, 8)
    made = [SmallPicture(8, blank, blank, {"psnr": p, "share": s}) for p, s in ((20, 0.1), (30, 0.2), (25, 0.9))]
    made[0].figures["dlib"] = 0.3
    assert summary(made) == {8: {"dlib": 0.3, "psnr": 25, "share": 0.2}}
