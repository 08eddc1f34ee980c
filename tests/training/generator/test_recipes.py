"""Recipes: the numbers are those of their papers and of the embedded model's run."""

from __future__ import annotations

import pytest

from latentedit.networks import EncoderConfig, GeneratorConfig
from latentedit.training.generator.recipes import AdversarialConfig, encoder_for, grown_encoder, r1_weight


def test_r1_follows_the_heuristic_where_that_is_meant_for_it() -> None:
    assert r1_weight(1024, 32) == pytest.approx(0.0002 * 1024**2 / 32) == pytest.approx(6.55, abs=0.01)
    assert r1_weight(64, 16) == 0.5
    assert AdversarialConfig.plain(1024, 8, processes=4).r1_gamma == r1_weight(1024, 32)


def test_plain_is_stylegan2_and_joint_keeps_the_photos() -> None:
    plain = AdversarialConfig.plain(64, 16, accumulate=2)
    assert (plain.learning_rate, plain.discriminator_learning_rate, plain.beta1) == (2e-3, 2e-3, 0.0)
    assert (plain.reconstruction, plain.patch_weight, plain.feature_weight, plain.accumulate) == (None, 0.0, 0.0, 2)
    joint = AdversarialConfig.joint(64, 16)
    assert joint.reconstruction is not None
    assert joint.learning_rate < joint.discriminator_learning_rate == 2e-3
    assert joint.patch_weight > 0


def test_a_last_stretch_slows_every_rate() -> None:
    joint = AdversarialConfig.joint(64, 16)
    slow = joint.slowed(0.3)
    for rate in ("learning_rate", "discriminator_learning_rate", "encoder_learning_rate"):
        assert getattr(slow, rate) == pytest.approx(0.3 * getattr(joint, rate))
    assert slow.r1_gamma == joint.r1_gamma


def test_encoders_fit_their_generators_and_grow_with_them() -> None:
    small = GeneratorConfig(resolution=64, channel_base=2048, channel_max=256)
    encoder = encoder_for(small, blocks=0)
    assert encoder == EncoderConfig(64, small.num_ws, small.w_dim, (32, 64, 128, 192, 256), blocks=0)
    grown = grown_encoder(encoder, GeneratorConfig(resolution=128))
    assert (grown.resolution, grown.num_ws, grown.channels) == (128, 12, (16, 32, 64, 128, 192, 256))
