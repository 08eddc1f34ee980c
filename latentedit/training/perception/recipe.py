"""The recipe of the perception network: how long, how fast, and what each head's loss weighs."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentedit.networks.perception import PerceptionConfig
from latentedit.training.perception.augment import AugmentConfig

MAIN_ATTRIBUTES = ("smile", "makeup", "lipstick", "eyeglasses", "gender", "hat", "mask")
"""Attributes that count in full; see `TrainingConfig.minor_weight`."""


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    ``images`` crops are seen in all; ``minutes``, if given, shortens the schedule to that much time of this process.
    ``repeats`` is how often a crop of a data set is drawn per pass, ``masked`` that of a crop with a drawn mask.
    AdamW (Loshchilov and Hutter 2019) with a peak ``rate``, a linear ``warmup`` over that share of the schedule, then a
    half cosine; gradients are clipped at the norm ``clip``. Attributes beyond `MAIN_ATTRIBUTES` count by
    ``minor_weight`` each, since there are thirty of them; ``temperature`` is that of the contrast between identities
    (van den Oord et al. 2018, with the value of MoCo, He et al. 2020). ``ema_images`` is the half-life of the average.
    """

    images: int = 1_000_000
    minutes: float | None = None
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 5.0
    ema_images: float = 20_000
    report_images: int = 25_000
    seed: int = 0
    precision: str = "bfloat16"
    repeats: dict[str, float] = field(default_factory=lambda: {"celeba10k": 2.0, "genki4k": 2.0, "facemask": 0.0})
    masked: float = 0.5
    minor_weight: float = 0.15
    age_weight: float = 0.12
    pose_weight: float = 0.4
    identity_weight: float = 2.0
    contrast_weight: float = 0.25
    temperature: float = 0.07
    network: PerceptionConfig = field(default_factory=PerceptionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
