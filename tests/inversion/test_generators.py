"""Generators of other kinds than StyleGAN2 are inverted by the same code."""

from __future__ import annotations

import pytest
import torch
from solving import solve

from latentedit.codes.delta import adapted
from latentedit.inversion import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.noise import NoiseMaps
from latentedit.models import Model
from latentedit.networks import Encoder, EncoderConfig
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileStyleGANGenerator
from latentedit.networks.stylegan1 import StyleGAN1Config, StyleGAN1Generator
from latentedit.networks.stylegan3 import StyleGAN3Config, StyleGAN3Generator


def _stylegan1() -> StyleGAN1Generator:
    config = StyleGAN1Config(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8)
    generator = StyleGAN1Generator(config)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            # The mapping's weights are scaled down a hundredfold at run time.
            scale = 100 if "mapping" in name and "weight" in name else 0.05 if "noise_strength" in name else 0.5
            parameter.copy_(torch.randn_like(parameter) * scale)
    return generator


def _stylegan3() -> StyleGAN3Generator:
    return StyleGAN3Generator(
        StyleGAN3Config(
            resolution=16,
            z_dim=8,
            w_dim=8,
            channel_base=128,
            channel_max=8,
            num_layers=3,
            num_critical=1,
            margin_size=2,
        )
    )


def _mobilestylegan(levels: int = 2) -> MobileStyleGANGenerator:
    config = MobileStyleGANConfig(channels=(8,) * levels, z_dim=8, w_dim=8, mapping_layers=2)
    generator = MobileStyleGANGenerator(config)
    with torch.no_grad():
        for name, parameter in generator.synthesis.named_parameters():
            parameter.mul_(0.3 if "weight" in name and "conv" in name else 1.0)
            if "noise_strength" in name:
                parameter.fill_(0.05)
    return generator


@pytest.mark.parametrize(("make", "noisy"), [(_stylegan1, True), (_stylegan3, False), (_mobilestylegan, True)])
def test_other_architectures_are_inverted_and_refined(make, noisy):
    torch.manual_seed(0)
    generator = make().eval().requires_grad_(False)
    model = Model(name="other", generator=generator)
    with torch.no_grad():
        target = generator.synthesis(generator.mapping(torch.randn(1, 8)))
        target = target / target.abs().max()
    config = InversionConfig(
        steps=55, patience=0, perceptual=None, identity=None, refine="weights", weight_share=0.3,
        weight_learning_rate=0.02,
    )  # fmt: skip
    start = solve(model, target, method="optimize", config=InversionConfig(steps=0, perceptual=None, identity=None))
    found = solve(model, target, method="optimize", config=config)
    assert bool(found.noise) == noisy
    images = [
        network.synthesis(solution.ws, **({"noise": solution.noise} if solution.noise else {}))
        for network, solution in (
            (generator, start), (generator, found), (adapted(generator, found.deltas[0]), found),
        )
    ]  # fmt: skip
    losses = [float(pixel_loss(image, target)) for image in images]
    assert losses[1] < 0.7 * losses[0]
    assert losses[2] < 0.95 * losses[1]


def test_maps_without_strength_are_left_out(model):
    synthesis = model.generator.synthesis
    assert set(NoiseMaps.of(synthesis).shapes) == set(synthesis.noise_shapes)
    strength = synthesis.b8.conv0.noise_strength
    kept = strength.clone()
    try:
        strength.zero_()
        assert set(synthesis.noise_shapes) - set(NoiseMaps.of(synthesis).shapes) == {"b8.conv0"}
    finally:
        strength.copy_(kept)


def test_hybrid_refines_a_mobile_generator_that_is_larger_than_what_is_compared():
    """Pointwise weights from 16 px on; the encoder looks at 16 px, losses at 32, windows at all 64."""
    torch.manual_seed(1)
    generator = _mobilestylegan(levels=4).eval().requires_grad_(False)
    encoder = Encoder(EncoderConfig(16, generator.num_ws, 8, channels=(8, 8, 8))).eval().requires_grad_(False)
    model = Model(name="mobile", generator=generator, encoder=encoder)
    target = generator.synthesis(generator.mapping(torch.randn(1, 8)))
    target = target / target.abs().max()
    events = []
    config = InversionConfig(
        steps=60,
        perceptual=None,
        identity=None,
        compare_size=32,
        detail_crops=1,
        weight_rank=4,
        weight_learning_rate=0.1,
    )
    found = solve(model, target, method="hybrid", config=config, callback=events.append)
    assert set(found.deltas[0]) == {f"b{r}.conv{i}.weight" for r in (16, 32) for i in (0, 1)}
    assert {left.shape for left, _ in found.deltas[0].values()} == {(8, 4), (8, 2)}  # of 2 inputs, 2 is full rank
    assert set(events[0].losses) == {"pixel", "detail"}
    tuned = adapted(generator, found.deltas[0])
    before, after = (pixel_loss(network.synthesis(found.ws), target) for network in (generator, tuned))
    assert after < 0.9 * before
