"""LPIPS against numbers of the package stlpips-pytorch 0.0.2 itself, computed once in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentedit.errors import MissingExtraError, ModelError
from latentedit.networks import lpips
from latentedit.networks.lpips import Backbone, load_perceptual

REFERENCE: dict[tuple[Backbone, int], list[float]] = {
    ("alex", 64): [0.005056870635598898, 0.0056420681066811085],
    ("vgg", 64): [0.012322824448347092, 0.012018503621220589],
}


def pair(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, side, side, generator=random) * 2 - 1
    return a, (a + 0.3 * torch.randn(a.shape, generator=random)).clamp(-1, 1)


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_is_the_packages_own_distance(backbone: Backbone) -> None:
    distance = load_perceptual(backbone)(*pair(64))
    assert distance.tolist() == pytest.approx(REFERENCE[backbone, 64], rel=1e-4)


def test_what_does_not_count_makes_no_difference() -> None:
    network = load_perceptual()
    a, _ = pair(64)
    b = a.clone()
    b[..., 32:] = 0.0
    left = torch.zeros(2, 1, 64, 64)
    left[..., :16] = 1
    one, other = network.features(a), network.features(b)
    assert (network.compare(one, other) > 0.01).all()
    assert (network.compare(one, other, left) < 0.1 * network.compare(one, other, 1 - left)).all()
    assert torch.allclose(network.compare(one, other, torch.ones(2, 1, 64, 64)), network.compare(one, other))


def test_gradients_reach_the_picture() -> None:
    a, b = pair(32)
    a.requires_grad_(True)
    load_perceptual()(a, b).sum().backward()
    assert a.grad is not None
    assert float(a.grad.abs().max()) > 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs the weights of the package stlpips-pytorch.*pip install"):
        load_perceptual()


def test_another_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="holds no LPIPS weights"):
        load_perceptual(path=tmp_path / "other.pth")
