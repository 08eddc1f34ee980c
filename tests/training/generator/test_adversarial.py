"""The adversarial loop: rates, and what is rebuilt."""

from __future__ import annotations

from dataclasses import replace

import torch

from latentedit.training.generator.recipes import AdversarialConfig, ReconstructionConfig
from latentedit.training.generator.stages import (
    RunConfig,
    adversarial_trainer,
)


def test_learning_rates_are_those_of_the_present_configuration(run: RunConfig, fabric) -> None:
    config = AdversarialConfig(patch_weight=0, feature_weight=0, learning_rate=4e-3, path_length_interval=0)
    adversarial_trainer(run, config, fabric).save(run.path("adversarial"))
    later = adversarial_trainer(run, replace(config, learning_rate=1e-3), fabric)
    assert later.optimizers["g"].param_groups[0]["lr"] == 1e-3


def test_a_share_of_the_photos_is_rebuilt_without_offsets(run: RunConfig, fabric) -> None:
    base, offsets = torch.randn(64, 16), torch.randn(64, 6, 16)
    config = AdversarialConfig(patch_weight=0, feature_weight=0, reconstruction=ReconstructionConfig(base_share=0.25))
    trainer = adversarial_trainer(run, config, fabric)
    with torch.no_grad():
        rebuilt = trainer._rebuilt(base, offsets)
        plain = trainer.generator.synthesis(base[:, None].repeat(1, 6, 1), noise_mode="const")
        moved = trainer.generator.synthesis(base[:, None] + offsets, noise_mode="const")
    near_plain, near_moved = ((rebuilt - images).flatten(1).abs().amax(dim=1) < 1e-5 for images in (plain, moved))
    assert bool((near_plain ^ near_moved).all())
    assert 4 <= int(near_plain.sum()) <= 32
