"""The encoders of the pSp family against the published networks (tests/golden/encoder_*.npz)."""

from __future__ import annotations

import checkpoint_vectors as golden
import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit.errors import ModelError
from latentedit.networks.psp_encoder import PspEncoder, PspEncoderConfig, default_sizes


@pytest.fixture(scope="module")
def drawn() -> dict[str, Tensor]:
    """152 M weights; both references have the same names, and so the same weights."""
    _, meta = golden.load("encoder_psp")
    assert golden.load("encoder_e4e")[1]["state_dict"] == meta["state_dict"]
    return {**golden.encoder_state(meta["state_dict"]), "latent_avg": torch.zeros(10, 512)}


@pytest.mark.parametrize("kind", ["psp", "e4e"])
def test_styles_of_the_published_networks(kind: str, drawn: dict[str, Tensor]) -> None:
    arrays, _ = golden.load(f"encoder_{kind}")
    with torch.device("meta"):
        encoder = PspEncoder(PspEncoderConfig(10, default_sizes(10), progressive=kind == "e4e"))
    encoder.load_state_dict(drawn, assign=True)
    encoder.eval()
    photo = np.random.RandomState(7).standard_normal((1, 3, 256, 256)).astype(np.float32)
    with torch.no_grad():
        ws = encoder(torch.from_numpy(photo).clamp(-1, 1))
    assert golden.relative_error(ws, arrays["w"]) <= 1e-3


def test_the_published_assignment_of_styles() -> None:
    assert default_sizes(18) == (16,) * 3 + (32,) * 4 + (64,) * 11


def test_restyle_corrects_step_by_step() -> None:
    torch.manual_seed(0)
    config = PspEncoderConfig(4, (16,) * 4, w_dim=8, iterative=True, width=16)
    encoder = PspEncoder(config).eval().requires_grad_(False)
    encoder.latent_avg.normal_()
    photo, rendered = torch.randn(2, 3, 256, 256), []

    def render(ws: Tensor) -> Tensor:
        rendered.append(ws)
        return ws.mean(dim=(1, 2)).reshape(-1, 1, 1, 1).expand(-1, 3, 256, 256)

    ws = encoder.refine(photo, render, steps=3)
    first = encoder(photo)
    second = encoder(photo, render(first), first)
    third = encoder(photo, render(second), second)
    torch.testing.assert_close(ws, third)
    assert len(rendered) == 2 + 2


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"sizes \(16, 32\) do not fit 3 styles"):
        PspEncoderConfig(3, (16, 32))
