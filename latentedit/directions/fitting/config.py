"""What the fitting of directions can be told: how hyperplanes are fitted, and how the whole procedure goes about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentedit.directions.fitting.light import LIGHT
from latentedit.errors import DirectionError

CORE = ("age", "smile", "mask", "makeup", "lipstick", "eyeglasses", "gender", "yaw", "pitch")
"""The attributes that are fitted by default."""

WAYS = ("normal", "pattern")
"""Ways to move: along the machine's normal, or along the pattern of the latents that differ in the attribute."""


@dataclass(frozen=True)
class FitConfig:
    """How a hyperplane is fitted.

    Attributes:
        share: of the latents, taken at each end of a numeric label (binary labels: all of the rarer class, and as
            many of the other).
        train: share of the chosen latents that the machine is trained on; the rest measures its accuracy.
        seed: of the split and of the choice among equals.
        penalties: candidates for C, strongest regularisation first. The one wins whose distances agree best with
            the labels of latents outside both ends (rank correlation); for binary labels, the first whose accuracy in
            an inner split is within one standard error of the best.
        exact: up to this many training latents the exact solver is used (half a million latents at a share of 0.1:
            four seconds), beyond it stochastic gradient descent, whose normals are a little less true.
        minimum: latents that each end must have.
    """

    share: float = 0.1
    train: float = 0.7
    seed: int = 0
    penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    exact: int = 100_000
    minimum: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalties", tuple(self.penalties))
        for name, low, high in (("share", 0, 0.5), ("train", 0, 1)):
            if not low < getattr(self, name) <= high or (name == "train" and self.train == 1):
                raise DirectionError(
                    f"{name}={getattr(self, name)!r} is out of range.", f"Choose {name} between {low} and {high}."
                )


@dataclass(frozen=True)
class ProcedureConfig:
    """How `fit_attributes` proceeds.

    Attributes:
        fit: of the hyperplanes.
        watch: attributes whose change is measured while another is edited, and that may be projected out.
        way: one of `WAYS`, or "auto": the one that measures better.
        condition: "auto" (by measured leakage), or the names to project out of every direction; () for none.
        layers: "auto" (by measured effect), None for all, or a selection as in `layer_indices`.
        probes: latents that are moved and rendered for each measurement.
        tolerance: a leak below this share of the own effect (both in spreads among samples) is let be.
        seed: of the choice of the probes.
    """

    fit: FitConfig = field(default_factory=FitConfig)
    watch: tuple[str, ...] = (*CORE, *LIGHT)
    way: str = "auto"
    condition: str | tuple[str, ...] = "auto"
    layers: str | tuple[int, ...] | None = "auto"
    probes: int = 48
    tolerance: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.way not in (*WAYS, "auto"):
            raise DirectionError(f"way={self.way!r} is unknown.", f"Choose {', '.join(WAYS)} or auto.")
        if self.probes < 2:
            raise DirectionError(f"probes={self.probes} is too few to measure anything.", "Choose 24 or more.")
