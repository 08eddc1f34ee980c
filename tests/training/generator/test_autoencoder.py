"""The first stage: photos rebuilt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from latentedit.networks import (
    Encoder,
    Generator,
)
from latentedit.training.data.crops import FaceCrops
from latentedit.training.generator.autoencoder import AutoencoderConfig, recentre
from latentedit.training.generator.latent_fit import CENTRE
from latentedit.training.generator.stages import (
    RunConfig,
    autoencode,
)

AUTOENCODER = AutoencoderConfig(batch_size=8, learning_rate=3e-3, warmup=5, bf16=False)


def test_autoencoder_learns_and_resumes_exactly(run: RunConfig, faces: FaceCrops) -> None:
    straight = [losses["mse"] for _, losses in autoencode(run, faces, 480, AUTOENCODER)]
    assert np.mean(straight[-5:]) < 0.5 * np.mean(straight[:5])
    other = replace(run, folder=run.folder / "again")
    torch.manual_seed(99)
    list(autoencode(other, faces, 240, replace(AUTOENCODER, latent_noise=0.0)))
    state = torch.load(other.path("autoencoder"), weights_only=True)
    list(autoencode(other, faces, 256, replace(AUTOENCODER, latent_noise=0.0)))
    third = replace(run, folder=run.folder / "third")
    list(autoencode(third, faces, 256, replace(AUTOENCODER, latent_noise=0.0)))
    resumed = torch.load(other.path("autoencoder"), weights_only=True)["generator"]
    unbroken = torch.load(third.path("autoencoder"), weights_only=True)["generator"]
    assert state["step"] == 30
    assert all(torch.allclose(resumed[name], unbroken[name], atol=1e-6) for name in resumed)


def test_recentring_changes_the_latents_and_not_what_they_render(run: RunConfig, faces: FaceCrops) -> None:
    generator, encoder = Generator(run.generator).eval(), Encoder(run.encoder).eval()
    torch.nn.init.normal_(encoder.offset.weight)
    photos = faces.tensor(range(40))
    with torch.no_grad():
        encoder.base.weight.mul_(torch.linspace(0.5, 3, 16)[:, None])
        before = generator.synthesis(encoder(photos))
        moved = recentre(generator, encoder, encoder.parts(photos)[0])
        base, offsets = encoder.parts(photos)
        after = generator.synthesis(base[:, None] + offsets)
    assert offsets.abs().mean() > 0.1
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(base, moved, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(base.mean(dim=0), torch.full([16], CENTRE), atol=1e-4, rtol=0)
    torch.testing.assert_close(base.std(dim=0), torch.ones(16), atol=1e-4, rtol=0)
