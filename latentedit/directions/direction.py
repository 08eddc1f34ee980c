"""A direction of latent space: one file that knows its normal, its units, and the generator it belongs to.

Legend: ``N`` latents, ``L`` style layers. ``ws`` is [N, L, w_dim]. A *distance* is signed, along the unit normal, from
the separating hyperplane; a *score* is the attribute in its unit (years, degrees, probability).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentedit.attributes import PROBABILITY
from latentedit.directions.calibration import Calibration
from latentedit.directions.store import (
    SUFFIX,
    Owner,
    as_model,
    check_name,
    damaged,
    find_direction,
    is_file_name,
    read_file,
    write_file,
)
from latentedit.errors import DirectionError, FingerprintError, LatentError, LayerError
from latentedit.latents import matched_rows

if TYPE_CHECKING:
    from latentedit.models import Model

SAME_PROBABILITY = 0.03
"""An amount of 1 where the direction was measured up to 0.98 is not worth a warning."""


class OutOfRangeWarning(UserWarning):
    """An amount beyond what a direction reaches; the edit goes as far as was measured and no further."""


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit normal in W, or one per layer, with what is known of it.

    Attributes:
        name: what users type (``age``, ``smile``, ...).
        normal: float32 [w_dim], or [L, w_dim] with a root-mean-square row norm of 1. Moving by a distance d adds
            ``d * normal`` to every acting layer.
        intercept: the hyperplane is ``normal . w + intercept = 0``.
        layers: style layers that it acts on; None means all.
        unit: "years" or "degrees" (amounts are changes), "probability" (amounts are target scores), or any other
            word (amounts are changes); "distance" where nothing is known.
        calibration: score against distance; None where nothing was measured.
        accuracy: share of held-out samples on the right side of the separating hyperplane.
        cosines: |cos| of the normal with other directions by name.
        fingerprint: of the generator it belongs to; None when unknown. mapping: fingerprint of the W that it lies in,
            which generators may share, and with it the direction; None when unknown.
        svm_normal: unit normal [w_dim] of the separating hyperplane, where ``normal`` was conditioned; else None.
        metrics: further measured figures. settings: how it was fitted. Both hold JSON values only.
    """

    name: str
    normal: Tensor = field(repr=False)
    intercept: float = 0.0
    layers: tuple[int, ...] | None = None
    unit: str = "distance"
    calibration: Calibration | None = None
    accuracy: float | None = None
    cosines: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str | None = None
    svm_normal: Tensor | None = field(default=None, repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    mapping: str | None = None

    def __post_init__(self) -> None:
        normal = torch.as_tensor(self.normal).detach().to("cpu", torch.float32)
        if normal.ndim not in (1, 2) or normal.numel() == 0:
            raise DirectionError(
                f"The normal of direction {self.name!r} has shape {list(normal.shape)}.",
                "It must be [w_dim] or [layers, w_dim].",
            )
        norm = normal.double().square().sum(-1).mean().sqrt()
        if not torch.isfinite(norm) or norm == 0:
            raise DirectionError(f"The normal of direction {self.name!r} is zero or not finite.", "Fit it again.")
        object.__setattr__(self, "normal", (normal.double() / norm).float())
        self._check_values()
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(sorted({int(layer) for layer in self.layers})))

    def _check_values(self) -> None:
        """Refuse numbers that would only show up as nonsense in a picture."""
        if not isinstance(self.name, str) or not self.name or not isinstance(self.unit, str):
            raise DirectionError(f"{self.name!r:.40} in {self.unit!r:.40} names no direction.", "Give name and unit.")
        shares = (self.intercept, 0.0 if self.accuracy is None else self.accuracy)
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in shares):
            raise DirectionError(
                f"Direction {self.name!r} has the intercept {self.intercept!r:.40} and accuracy {self.accuracy!r:.40}.",
                "The file is damaged; copy or fit it again.",
            )
        if self.svm_normal is not None:
            given = torch.as_tensor(self.svm_normal)
            if given.shape != (self.w_dim,) or not bool(torch.isfinite(given).all()):
                raise DirectionError(
                    f"The hyperplane of direction {self.name!r} has shape {list(given.shape)} or is not finite.",
                    f"It must be [{self.w_dim}]; copy or fit it again.",
                )

    @property
    def w_dim(self) -> int:
        return self.normal.shape[-1]

    @property
    def is_target(self) -> bool:
        """Whether amounts are target scores (probabilities) rather than changes."""
        return self.unit == PROBABILITY

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Where the accuracy lies with 95 % confidence, given how many samples were held out (Wilson 1927, eq. 6); None
        where that is not known. Twelve samples, all right, say 0.76 to 1."""
        held = self.settings.get("held_out")
        if self.accuracy is None or not isinstance(held, int) or held < 1:
            return None
        square = 1.96**2 / held
        middle = (self.accuracy + square / 2) / (1 + square)
        half = math.sqrt(self.accuracy * (1 - self.accuracy) * square + square**2 / 4) / (1 + square)
        return max(middle - half, 0.0), min(middle + half, 1.0)

    # -- geometry -----------------------------------------------------------------------------------------------------

    def acting_layers(self, num_ws: int, layers: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Layers that an edit changes: ``layers`` if given, else those of the direction, else all ``num_ws``."""
        chosen = self.layers if layers is None else tuple(layers)
        chosen = tuple(range(num_ws)) if chosen is None else chosen
        if not chosen or min(chosen) < 0 or max(chosen) >= num_ws:
            raise LayerError(
                f"Direction {self.name!r} is to act on layers {list(chosen)}, but the latents have {num_ws}.",
                f"Choose among 0-{num_ws - 1}.",
            )
        return chosen

    def _rows(self, ws: Tensor, layers: tuple[int, ...] | None) -> tuple[tuple[int, ...], Tensor]:
        if ws.ndim != 3 or ws.shape[-1] != self.w_dim:
            raise LatentError(
                f"Direction {self.name!r} has w_dim {self.w_dim}, but the latents have shape {list(ws.shape)}.",
                "It belongs to another generator; fit or import one for this generator.",
            )
        if self.normal.ndim == 2 and self.normal.shape[0] != ws.shape[1]:
            raise LatentError(
                f"Direction {self.name!r} has {self.normal.shape[0]} layers, but the latents have {ws.shape[1]}.",
                "It belongs to a generator of another resolution.",
            )
        acting = self.acting_layers(ws.shape[1], layers)
        normal = self.normal.to(ws.device, ws.dtype)
        rows = normal[list(acting)] if normal.ndim == 2 else normal.expand(len(acting), -1)
        return acting, rows

    def distance(self, ws: Tensor, *, layers: tuple[int, ...] | None = None) -> Tensor:
        """Signed distances [N] of ``ws``: the mean over the acting layers; moving by d adds exactly d."""
        acting, rows = self._rows(ws, layers)
        along = (ws[:, list(acting)] * rows).sum((1, 2)) / rows.square().sum()
        return along + self.intercept

    def displacement(self, ws: Tensor, distance: Tensor | float, *, layers: tuple[int, ...] | None = None) -> Tensor:
        """What to add [N, L, w_dim] to ``ws`` to move it by ``distance`` (a number, or [N])."""
        acting, rows = self._rows(ws, layers)
        amount = torch.as_tensor(distance, dtype=ws.dtype, device=ws.device).expand(ws.shape[0])
        delta = torch.zeros_like(ws)
        delta[:, list(acting)] = amount[:, None, None] * rows
        return delta

    # -- units --------------------------------------------------------------------------------------------------------

    def score(self, ws: Tensor) -> Tensor:
        """Scores [N] that the calibration expects for ``ws``, without rendering.

        Raises:
            DirectionError: the direction has no calibration.
        """
        return self._calibrated().score_at(self.distance(ws))

    def distance_for(
        self,
        ws: Tensor,
        amount: Tensor | float,
        *,
        current: Tensor | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor:
        """How far [N] to move ``ws`` for ``amount``: a change in units, or a target score for probabilities.

        ``current`` [N] are scores measured on the rendered latents; without them the calibration's expectation from
        the distance is the start. An amount beyond the measured range is clamped, with an `OutOfRangeWarning`.

        Raises:
            DirectionError: no calibration, an amount that is not finite, or a probability outside [0,1].
        """
        calibration = self._calibrated()
        wanted = torch.as_tensor(amount, dtype=ws.dtype, device=ws.device).expand(ws.shape[0])
        self.check_amount(wanted)
        at = self.distance(ws, layers=layers)
        start = at if current is None else self._start(at, current.to(ws.device, ws.dtype))
        score = calibration.score_at(start) if current is None else current.to(ws.device, ws.dtype)
        target = wanted if self.is_target else score + wanted
        if bool(calibration.beyond(target, SAME_PROBABILITY if self.is_target else 0.0).any()):
            warnings.warn(self._range_note(target), OutOfRangeWarning, stacklevel=2)
        return calibration.distance_at(target) - start

    def offset(
        self,
        ws: Tensor,
        amount: Tensor | float,
        *,
        current: Tensor | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor:
        """What to add [N, L, w_dim] to ``ws`` for ``amount`` in units; arguments as in `distance_for`."""
        return self.displacement(ws, self.distance_for(ws, amount, current=current, layers=layers), layers=layers)

    def _start(self, at: Tensor, current: Tensor) -> Tensor:
        """Where on the curve latents stand whose measured score is ``current`` [N].

        At a saturated score the curve cannot tell how far beyond its end they are; their own distance can.
        """
        calibration = self._calibrated()
        start = calibration.distance_at(current)
        low, high = calibration.distance_limits
        start = torch.where(start >= high, torch.maximum(start, at), start)
        return torch.where(start <= low, torch.minimum(start, at), start)

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise DirectionError(
                f"Direction {self.name!r} has no calibration, so that amounts in units mean nothing.",
                f"Give a raw distance along its normal (distance={{{self.name!r}: 2.0}}), or fit it.",
                typed=f"Give a raw distance along its normal (--distance {self.name}=2), or fit it.",
            )
        return self.calibration

    def check_amount(self, wanted: Tensor) -> None:
        """Make sure, before anything is rendered, that amounts in units mean something.

        Raises:
            DirectionError: no calibration, an amount that is not finite, or a probability outside [0,1].
        """
        self._calibrated()
        if not bool(torch.isfinite(wanted).all()):
            raise DirectionError(f"The amount for {self.name!r} is not finite.", "Give a number.")
        if self.is_target and bool(((wanted < 0) | (wanted > 1)).any()):
            value = float(wanted[((wanted < 0) | (wanted > 1))][0])
            raise DirectionError(
                f"{self.name}={value:g} is no score: {self.name} is a probability between 0 and 1.",
                f"Give the score to reach, for example {self.name}=0.8.",
                typed=f"Give the score to reach, for example --{self.name} 0.8.",
            )

    def _range_note(self, target: Tensor) -> str:
        low, high = self._calibrated().limits
        worst = float(target[(target - (low + high) / 2).abs().argmax()])
        unit = "" if self.is_target else f" {self.unit}"
        return (
            f"{self.name} would have to reach {worst:.3g}{unit}, but its direction was measured from {low:.3g} to "
            f"{high:.3g}{unit}; the edit stops there."
        )

    # -- provenance ---------------------------------------------------------------------------------------------------

    def check(self, fingerprint: str | None, mapping: str | None = None) -> None:
        """Refuse another generator's latents, unless the two share their W.

        Raises:
            FingerprintError: both fingerprints are known and differ, and so do those of the mappings.
        """
        shared = bool(mapping) and self.mapping == mapping
        if self.fingerprint and fingerprint and self.fingerprint != fingerprint and not shared:
            raise FingerprintError(
                f"Direction {self.name!r} belongs to the generator {self.fingerprint}, not to {fingerprint}.",
                f"Fit one for this generator with `latentedit-direction fit --attr {self.name} --model ...`.",
            )

    def of(self, model: Model) -> Direction:
        """This direction for the latents of ``model``, layer by layer of equal resolution.

        Families that share their W number their style rows alike from 4 px on, so of a direction with a normal for each
        layer the rows of the layers that are there count, and the last one stands for any that it lacks.

        Raises:
            FingerprintError: it belongs to a generator of another W.
        """
        self.check(model.fingerprint, model.mapping_fingerprint)
        if self.fingerprint in (None, model.fingerprint) or (self.normal.ndim == 1 and self.layers is None):
            return self
        rows = model.generator.num_ws
        normal = self.normal if self.normal.ndim == 1 else matched_rows(self.normal, rows)
        layers = None if self.layers is None else tuple(layer for layer in self.layers if layer < rows)
        return self.with_(normal=normal, layers=layers)

    def with_(self, **changes: Any) -> Direction:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the direction to one ``.safetensors`` file that describes itself, and return its path.

        Raises:
            OutputError: the file cannot be written.
        """
        tensors = {"normal": self.normal.contiguous()}
        if self.svm_normal is not None:
            tensors["svm_normal"] = self.svm_normal.detach().to("cpu", torch.float32).contiguous()
        described = {
            key: getattr(self, key)
            for key in ("name", "intercept", "layers", "unit", "accuracy", "cosines", "metrics", "settings")
        }
        described["calibration"] = None if self.calibration is None else asdict(self.calibration)
        return write_file(path, tensors, described, Owner(self.fingerprint, self.mapping))

    @classmethod
    def load(cls, source: str | os.PathLike[str], model: Model | str | os.PathLike[str] | None = None) -> Direction:
        """Read a direction by name (``"age"``, of ``model`` or the default one) or from a file.

        Raises:
            DirectionError: no such name or file (the known names are listed), or no direction file.
            FingerprintError: it belongs to another generator than that of ``model``.
        """
        if is_file_name(source):
            direction = from_file(source)
            return direction if model is None else direction.of(as_model(model))
        owner = as_model(model)
        return from_file(find_direction(os.fspath(source), owner)).of(owner)


def from_file(path: str | os.PathLike[str]) -> Direction:
    """Read one direction file without asking whose it is.

    Raises:
        DirectionError: the file is missing, damaged, or holds something else.
    """
    tensors, described, owner = read_file(path)
    try:
        calibration = described.pop("calibration", None)
        layers = described.pop("layers", None)
        return Direction(
            normal=tensors["normal"],
            svm_normal=tensors.get("svm_normal"),
            calibration=None if calibration is None else Calibration(**calibration),
            layers=None if layers is None else tuple(layers),
            fingerprint=owner.fingerprint,
            mapping=owner.mapping,
            **described,
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from error


def load_direction(source: str | os.PathLike[str], model: Model | str | os.PathLike[str] | None = None) -> Direction:
    """A direction by name, or from a file; see `Direction.load`."""
    return Direction.load(source, model)


def save_directions(
    directions: Mapping[str, Direction], folder: str | os.PathLike[str], *, model: Model | None = None
) -> dict[str, Path]:
    """Write ``directions`` as ``folder/<name>.safetensors`` and return their paths.

    ``model`` is whose they are; it gives those of its generator the fingerprint of its W.

    Raises:
        DirectionError: a name that is no plain file name.
        OutputError: the folder cannot be written.
    """
    for name in directions:
        check_name(name)
    return {name: made_for(value, model).save(Path(folder) / f"{name}{SUFFIX}") for name, value in directions.items()}


def made_for(direction: Direction, model: Model | None) -> Direction:
    """``direction`` with the fingerprint of the W of ``model``, where it belongs to its generator."""
    if model is None or direction.fingerprint != model.fingerprint:
        return direction
    return direction.with_(mapping=model.mapping_fingerprint)
