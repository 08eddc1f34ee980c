"""The stages on a tiny model and drawn pictures: they learn, resume exactly, and hand over to each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentedit.errors import ModelError
from latentedit.networks import (
    PerceptionConfig,
    PerceptionNetwork,
)
from latentedit.training.data.crops import FaceCrops
from latentedit.training.generator.ada import AugmentConfig
from latentedit.training.generator.autoencoder import AutoencoderConfig
from latentedit.training.generator.latent_fit import CENTRE, LatentFitConfig
from latentedit.training.generator.recipes import AdversarialConfig, ReconstructionConfig
from latentedit.training.generator.stages import (
    RunConfig,
    adversarial,
    adversarial_networks,
    adversarial_trainer,
    encode_all,
    grown_networks,
    load_run,
    mapping_networks,
    remap,
    save_start,
    start_networks,
)

AUTOENCODER = AutoencoderConfig(batch_size=8, learning_rate=3e-3, warmup=5, bf16=False)


def test_joint_training_resumes_exactly_and_grows(run: RunConfig, faces: FaceCrops, fabric) -> None:
    config = AdversarialConfig(
        batch_size=8,
        accumulate=2,
        r1_interval=2,
        path_length_interval=2,
        ada_interval=1,
        augment=AugmentConfig(rotations90=False),
        reconstruction=ReconstructionConfig(),
    )
    sight = PerceptionNetwork(PerceptionConfig(size=16, widths=(4, 8), blocks=(1, 1), hidden=8)).eval()
    sight.requires_grad_(False)
    trainer = adversarial_trainer(run, config, fabric, perception=sight)
    names: set[str] = set()
    for _, losses in adversarial(run, trainer, faces, 48):
        names |= set(losses)
        assert all(np.isfinite(list(losses.values())))
    assert {"g", "d", "r1", "path_length", "p", "mse", "latent_critic", "patches", "features", "r1_patches"} <= names
    other = replace(run, folder=run.folder / "again")
    list(adversarial(other, adversarial_trainer(other, config, fabric, perception=sight), faces, 24))
    torch.manual_seed(7)
    list(adversarial(other, adversarial_trainer(other, config, fabric, perception=sight), faces, 48))
    straight, resumed = adversarial_networks(run, average=False), adversarial_networks(other, average=False)
    for name, value in straight.generator.state_dict().items():
        assert torch.allclose(value, resumed.generator.state_dict()[name], atol=1e-6), name
    save_start(run, straight)
    third = replace(run, folder=run.folder / "third")
    kept = adversarial_trainer(third, config, fabric, start=start_networks(run), perception=sight)
    for name, module in (kept.modules | {"generator_ema": trainer.generator}).items():
        if isinstance(module, torch.nn.Module) and name in straight.modules | straight.judges:
            expected = trainer.modules[name].state_dict()
            assert all(torch.equal(value, expected[key]) for key, value in module.state_dict().items()), name
    remapped = replace(run, folder=run.folder / "remapped")
    list(remap(remapped, adversarial_networks(run, average=False), faces, LatentFitConfig(critic_steps=5)))
    moved = start_networks(load_run(remapped.folder))
    assert moved.encoder is not None
    with torch.no_grad():
        latents = encode_all(moved.encoder.eval(), faces)
        w = moved.generator.mapping(torch.randn(4000, 16))[:, 0]
    torch.testing.assert_close(latents.mean(dim=0), torch.full([16], CENTRE), atol=1e-3, rtol=0)
    assert (w.mean(dim=0) - CENTRE).abs().max() < 0.1
    grown = grown_networks(run.folder)
    ws = torch.randn(2, 6, 16)
    with torch.no_grad():
        small = adversarial_networks(run).generator.synthesis(ws, noise_mode="none")
        large = grown.generator.synthesis(torch.cat([ws, ws[:, -1:], ws[:, -1:]], dim=1), noise_mode="none")
        assert large.shape == (2, 3, 32, 32)
        assert torch.allclose(torch.nn.functional.avg_pool2d(large, 2).mean(), small.mean(), atol=0.05)
        assert grown.discriminator is not None
        assert grown.discriminator(large).shape == (2, 1)


def test_missing_stage_is_named(run: RunConfig) -> None:
    assert load_run(run.folder).generator == run.generator
    with pytest.raises(ModelError, match=r"mapping\.pt' is not there"):
        mapping_networks(run)
