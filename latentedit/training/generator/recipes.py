"""Recipes of adversarial training: learning rates, weights of losses, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from latentedit.networks import EncoderConfig, GeneratorConfig
from latentedit.training.generator.ada import AugmentConfig

LEAST_R1 = 0.5
"""Least weight of R1: the heuristic gives 0.05 at 64 px and a batch of 16, ten times less than at any size that it was
made for."""

ENCODER_WIDTHS = (32, 64, 128, 192, 256, 256, 256, 256, 256)
"""Channels of an encoder at full resolution, half of it, ...: those of the embedded model's, five levels at 64 px."""


@dataclass(frozen=True)
class ReconstructionConfig:
    """Weights of the joint objective's terms on photos rebuilt through the encoder.

    ``base_share`` of the photos are rebuilt from their base w alone, so that the generator learns to render what the
    mapping gives it, latents that are the same in all layers, and not only what the offsets reach.
    """

    mse: float = 6.0
    gradient: float = 2.0
    perceptual: float = 1.0
    identity: float = 0.7
    adversarial: float = 1.2
    offset: float = 2e-3
    latent_critic: float = 0.15
    base_share: float = 0.5


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of adversarial training.

    ``batch_size`` is per process and update, taken in ``accumulate`` equal parts. ``r1_gamma``, ``ada_speed_images``
    and ``ema_images`` follow stylegan2-ada's heuristics. Intervals of 0 switch a regulariser off. ``patch_weight`` and
    ``feature_weight`` weigh the further discriminators, of texture and of perception features, against the first.
    """

    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 2e-3
    discriminator_learning_rate: float = 2e-3
    beta1: float = 0.0
    encoder_learning_rate: float = 5e-4
    r1_gamma: float = 0.1
    r1_interval: int = 16
    path_length_weight: float = 2.0
    path_length_interval: int = 8
    style_mixing: float = 0.9
    ema_images: float = 5_000
    ada_target: float | None = 0.6
    ada_interval: int = 4
    ada_speed_images: float = 100_000
    patch_weight: float = 1.0
    patch_gamma: float = 0.05
    feature_weight: float = 1.0
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    reconstruction: ReconstructionConfig | None = None

    @classmethod
    def plain(cls, resolution: int, batch_size: int, *, processes: int = 1, **changes: Any) -> AdversarialConfig:
        """StyleGAN2-ADA from random weights: no photos in the objective, no further discriminators.

        Both learning rates are StyleGAN2's, 2e-3 (Karras et al. 2020, "Analyzing and Improving the Image Quality of
        StyleGAN", appendix B).
        """
        gamma = r1_weight(resolution, batch_size * processes)
        return cls(batch_size=batch_size, r1_gamma=gamma, patch_weight=0.0, feature_weight=0.0, **changes)

    @classmethod
    def joint(cls, resolution: int, batch_size: int, *, processes: int = 1, **changes: Any) -> AdversarialConfig:
        """The photos stay in the objective: what the embedded model was made with (see its card).

        Photos give steadier gradients than an adversary does: small steps with momentum keep the reconstructions,
        where StyleGAN2's own rates and betas lose them.
        """
        return cls(
            batch_size=batch_size,
            r1_gamma=r1_weight(resolution, batch_size * processes),
            learning_rate=5e-4,
            encoder_learning_rate=1.5e-4,
            beta1=0.5,
            patch_weight=1.2,
            reconstruction=ReconstructionConfig(),
            **changes,
        )

    def slowed(self, factor: float) -> AdversarialConfig:
        """The same with ``factor`` times the learning rates; the embedded model's last stretch was made with 0.3."""
        return replace(
            self,
            learning_rate=self.learning_rate * factor,
            discriminator_learning_rate=self.discriminator_learning_rate * factor,
            encoder_learning_rate=self.encoder_learning_rate * factor,
        )


def r1_weight(resolution: int, batch: int) -> float:
    """Weight of R1 for a ``batch`` over all processes: ``0.0002 * R^2 / batch``, at least `LEAST_R1`.

    Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix C.
    """
    return max(0.0002 * resolution**2 / batch, LEAST_R1)


def encoder_for(generator: GeneratorConfig, *, blocks: int) -> EncoderConfig:
    """An encoder into the latents of ``generator`` with ``blocks`` residual blocks at each size: none where photos are
    rebuilt through it while the generator is trained, one where it is trained alone."""
    widths = ENCODER_WIDTHS[: generator.resolution.bit_length() - 2]
    return EncoderConfig(generator.resolution, generator.num_ws, generator.w_dim, widths, blocks)


def grown_encoder(encoder: EncoderConfig, generator: GeneratorConfig) -> EncoderConfig:
    """``encoder`` for a ``generator`` of twice its resolution: one level more, half as wide as the finest was."""
    channels = (max(encoder.channels[0] // 2, 16), *encoder.channels)
    return replace(encoder, resolution=generator.resolution, num_ws=generator.num_ws, channels=channels)
