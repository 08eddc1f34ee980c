"""Settings of an inversion: how far to go, what to compare, and what to keep small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from latentedit.errors import LatentEditError

Distance = Callable[[Tensor, Tensor], Tensor]
"""A judge of one's own: images and targets [N,3,R,R] in [-1,1] -> distances [N], differentiable in the images."""


@dataclass(frozen=True)
class InversionConfig:
    """What an inversion does; the defaults suit every method.

    Losses are per photo; their weights multiply a mean over pixels (``pixel_weight``), a perceptual distance
    (``perceptual_weight``), and a distance of identities (``identity_weight``). ``perceptual`` and ``identity`` are
    ``"own"`` (the model's perception network), ``"package.module:function"``, a callable, or None for none;
    ``perceptual`` may also be ``"lpips"``. Both are measured on every ``judge_every``-th step, at that many times
    their weight. Images larger than ``compare_size`` pixels a side are averaged down to it before they are compared;
    ``detail_crops`` windows of that size, at places that change from step to step, are then compared at full resolution
    as well, pixel by pixel, with the weight ``detail_weight``.

    Latents move in whitened coordinates of W, in which one unit is one standard deviation: the learning rates of
    latents and ``jitter`` are in these units, the same for every generator. ``optimize`` spends ``w_share`` of its
    steps on one w for all layers; ``spread_weight`` then pulls the w of the layers together (Tov et al. 2021, eq. 2)
    and ``average_weight`` pulls them towards the average face. ``noise_weight`` keeps the noise maps white (Karras et
    al. 2020, appendix D). A photo whose smoothed loss gained less than the share ``min_gain`` over ``patience`` steps
    starts to ramp its rate down, and then stops; ``patience`` 0 always takes all steps.

    ``refine="weights"`` spends the last ``weight_share`` of the steps on changes of rank ``weight_rank`` to the
    generator's convolutions from 16 px on, for this photo alone: they reach what no latent does, and leave the latent
    where edits work (Roich et al. 2022); ``"auto"`` does so for ``hybrid``. ``pivot`` is where ``hybrid`` seeks that
    latent: ``"w"`` is one w for all layers among those that the mapping network gives, pulled towards the average face
    by ``pivot_weight``; ``"w+"`` one per layer, and noise; ``"auto"`` is the first where weights are refined, which can
    then do the rest. ``weight_share`` None is 0.8 behind such a pivot, else 0.4.
    """

    steps: int | None = None
    start: Literal["average", "encoder"] = "average"
    feedback: int = 0
    refine: Literal["auto", "weights", "none"] = "auto"
    pivot: Literal["auto", "w", "w+"] = "auto"

    pixel_weight: float = 1.0
    pixel_levels: int = 3
    perceptual: str | Distance | None = "own"
    perceptual_weight: float = 0.004
    identity: str | Distance | None = "own"
    identity_weight: float = 0.002
    judge_every: int = 8
    compare_size: int = 256
    detail_crops: int = 0
    detail_weight: float = 1.0

    w_share: float = 0.3
    learning_rate: float = 0.2
    w_learning_rate: float = 0.2
    pivot_learning_rate: float = 0.05
    ramp_up: float = 0.05
    ramp_down: float = 0.3
    jitter: float = 0.3
    spread_weight: float = 1e-4
    average_weight: float = 1e-5
    pivot_weight: float = 1e-3
    optimize_noise: bool = True
    noise_learning_rate: float = 0.05
    noise_weight: float = 1.0
    patience: int = 60
    min_gain: float = 0.01

    weight_rank: int = 8
    weight_share: float | None = None
    weight_learning_rate: float = 1e-2

    image_every: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise LatentEditError(f"{name} is {value!r}; it must be at least {least}.", None)
        for name in ("w_share", "weight_share", "ramp_up", "ramp_down"):
            if (getattr(self, name) or 0) > 1:
                raise LatentEditError(f"{name} is {getattr(self, name)!r}; it is a share from 0 to 1.", None)
        if self.start not in ("average", "encoder"):
            raise LatentEditError(f"start is {self.start!r}.", "Choose 'average' or 'encoder'.")
        if self.refine not in ("auto", "weights", "none"):
            raise LatentEditError(f"refine is {self.refine!r}.", "Choose 'auto', 'weights' or 'none'.")
        if self.pivot not in ("auto", "w", "w+"):
            raise LatentEditError(f"pivot is {self.pivot!r}.", "Choose 'auto', 'w' or 'w+'.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; a callable judge is given by its name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("perceptual", "identity"):
            if callable(values[name]):
                judge = values[name]
                values[name] = getattr(judge, "__qualname__", type(judge).__qualname__)
        return values


_LEAST: dict[str, float] = {
    **dict.fromkeys(("steps", "feedback", "patience", "image_every", "detail_crops"), 0),
    **dict.fromkeys(("pixel_levels", "judge_every", "weight_rank", "compare_size"), 1),
    **dict.fromkeys(("pixel_weight", "perceptual_weight", "identity_weight", "detail_weight"), 0),
    **dict.fromkeys(("spread_weight", "average_weight"), 0),
    **dict.fromkeys(("noise_weight", "learning_rate", "w_learning_rate", "noise_learning_rate"), 0),
    **dict.fromkeys(("pivot_learning_rate", "pivot_weight"), 0),
    **dict.fromkeys(
        ("weight_learning_rate", "jitter", "w_share", "weight_share", "ramp_up", "ramp_down", "min_gain"), 0
    ),
}
