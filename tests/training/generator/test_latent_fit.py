"""The mapping fitted to latents."""

from __future__ import annotations

import torch

from latentedit.training.data.crops import FaceCrops
from latentedit.training.generator.autoencoder import AutoencoderConfig
from latentedit.training.generator.latent_fit import CENTRE, LatentFitConfig
from latentedit.training.generator.stages import (
    RunConfig,
    autoencode,
    autoencoder_networks,
    encode_all,
    fit_mapping,
    mapping_networks,
)

AUTOENCODER = AutoencoderConfig(batch_size=8, learning_rate=3e-3, warmup=5, bf16=False)


def test_mapping_takes_the_latents_distribution(run: RunConfig, faces: FaceCrops) -> None:
    list(autoencode(run, faces, 160, AUTOENCODER))
    networks = autoencoder_networks(run, AUTOENCODER, faces)
    latents = encode_all(networks.encoder, faces)
    assert (latents.mean(dim=0) - CENTRE).abs().max() < 0.15
    assert latents.std(dim=0).sub(1).abs().max() < 0.3
    config = LatentFitConfig(batch_size=128, critic_steps=20)
    moments = [losses["moments"] for _, losses in fit_mapping(run, networks, latents, config)]
    assert max(moments) < 0.5
    mapping = mapping_networks(run).generator.mapping
    with torch.no_grad():
        w = mapping(torch.randn(4000, 16))[:, 0]
    assert (w.mean(dim=0) - latents.mean(dim=0)).abs().max() < 0.06
    assert torch.equal(mapping.w_avg, latents.mean(dim=0))
    difference = (torch.cov(w.t()) - torch.cov(latents.t())).norm() / torch.cov(latents.t()).norm()
    assert difference < 0.35
