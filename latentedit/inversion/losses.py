"""What an inversion compares: pixels at several scales, perception, and identity.

Legend: ``N`` photos, ``R`` resolution; images [N,3,R,R] in [-1,1]; every loss is [N], one value per photo, so that
no photo of a batch feels its neighbours.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from latentedit.errors import LatentEditError, MissingExtraError, ModelError
from latentedit.images import resize
from latentedit.inversion.config import Distance, InversionConfig
from latentedit.networks.lpips import shared_perceptual

_LPIPS_SIDE = 256


def pixel_loss(image: Tensor, target: Tensor, weights: Tensor | None = None, *, levels: int = 3) -> Tensor:
    """Mean squared difference over ``levels`` scales, each half the size and half the weight of the one before, [N].

    ``weights`` [N,1,R,R] in [0,1], with which both images were multiplied, says how much each pixel counts; where it is
    0 everywhere the loss is 0.
    """
    difference = image - target
    total = image.new_zeros(image.shape[0])
    share, shares = 1.0, 0.0
    for level in range(levels):
        if level:
            if min(difference.shape[2:]) < 2:
                break
            difference = nn.functional.avg_pool2d(difference, 2)
            weights = None if weights is None else nn.functional.avg_pool2d(weights, 2)
        if weights is None:
            total = total + share * difference.square().mean(dim=(1, 2, 3))
        else:
            # The pooled difference carries the weight once: dividing by it leaves a weighted mean of squares.
            squares = difference.square() / weights.clamp_min(1e-6)
            mean = squares.mean(dim=1).sum(dim=(1, 2)) / weights.sum(dim=(1, 2, 3)).clamp_min(1e-6)
            total = total + share * mean
        shares += share
        share /= 2
    return total / shares


def resolve_judge(judge: str | Distance | None, *, role: str, device: torch.device) -> Distance | None:
    """The function behind the name of a judge; None for ``"own"`` and None, which need none.

    Raises:
        MissingExtraError: the package is not installed.
        LatentEditError: an unknown name.
    """
    if judge is None or judge == "own":
        return None
    if callable(judge):
        return judge
    if judge == "lpips" and role == "perceptual":
        return _lpips(device)
    module, separator, name = judge.partition(":")
    if not separator:
        known = "'own', 'lpips'" if role == "perceptual" else "'own'"
        raise LatentEditError(f"{role}={judge!r} is unknown.", f"Choose {known}, 'package.module:function' or None.")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{role}={judge!r}: {error}.", f"Install the package that has {module!r}.") from error
    except AttributeError as error:
        raise LatentEditError(f"{role}={judge!r}: {error}.", "Name a function of that module.") from error
    if not callable(found):
        raise LatentEditError(f"{role}={judge!r} is a {type(found).__name__}.", "Name a function of that module.")
    return cast(Distance, found)


def _lpips(device: torch.device) -> Distance:
    network = shared_perceptual("alex", device)
    seen: dict[str, Any] = {}

    def distance(image: Tensor, target: Tensor) -> Tensor:
        # A descent compares with the same target again and again.
        if seen.get("target") is not target:
            with torch.no_grad():
                seen.update(target=target, features=network.features(resize(target, _LPIPS_SIDE)))
        return network.compare(network.features(resize(image, _LPIPS_SIDE)), seen["features"])

    return distance


def take(value: Any, rows: Tensor) -> Any:
    """The ``rows`` of every tensor in ``value``: a tensor, None, or tuples, lists, dicts, dataclasses of those."""
    if isinstance(value, Tensor):
        return value[rows]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: take(getattr(value, field.name), rows) for field in fields(value)})
    if isinstance(value, Mapping):
        return {key: take(item, rows) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(take(item, rows) for item in value)
    return value


@dataclass(frozen=True)
class Objective:
    """The losses of a batch of targets, with what can be computed of the targets beforehand."""

    target: Tensor
    weights: Tensor | None
    config: InversionConfig
    perception: Any
    seen: Any
    perceptual: Distance | None
    identity: Distance | None

    @classmethod
    def build(
        cls, target: Tensor, *, config: InversionConfig, perception: Any, weights: Tensor | None = None
    ) -> Objective:
        """Raises ModelError where ``"own"`` judges are asked for by name and the model has no perception network."""
        own = _wants(config, "perceptual") or _wants(config, "identity")
        if own and perception is None:
            raise ModelError(
                "The model has no perception network for perceptual='own' and identity='own'.",
                "Use perceptual=None, identity=None, 'lpips', or a function.",
            )
        if weights is not None:
            target = target * weights
        with torch.no_grad():
            seen = perception.perceive(target) if own and perception is not None else None
        judges = {
            role: resolve_judge(getattr(config, role), role=role, device=target.device)
            for role in ("perceptual", "identity")
        }
        return cls(target, weights, config, perception, seen, **judges)

    def take(self, rows: Tensor) -> Objective:
        """The objective of some of the targets."""
        return replace(self, target=self.target[rows], weights=take(self.weights, rows), seen=take(self.seen, rows))

    @property
    def judged(self) -> bool:
        """Whether anything but pixels counts."""
        config = self.config
        return bool(
            (config.perceptual is not None and config.perceptual_weight)
            or (config.identity is not None and config.identity_weight)
        )

    def __call__(self, image: Tensor, *, judge: bool = True) -> dict[str, Tensor]:
        """Unweighted losses by name, each [N]; without ``judge`` only the pixels, which cost next to nothing."""
        if self.weights is not None:
            # What does not count is grey in both images, so that nothing there makes a difference to any loss.
            image = image * self.weights
        losses = {"pixel": pixel_loss(image, self.target, self.weights, levels=self.config.pixel_levels)}
        if not judge or not self.judged:
            return losses
        sight = self.perception.perceive(image) if self.seen is not None else None
        if self.config.perceptual is not None and self.config.perceptual_weight:
            losses["perceptual"] = (
                self.perception.perceptual_distance(sight, self.seen)
                if self.perceptual is None
                else _per_photo(self.perceptual(image, self.target), image, "perceptual")
            )
        if self.config.identity is not None and self.config.identity_weight:
            losses["identity"] = (
                self.perception.identity_distance(sight, self.seen)
                if self.identity is None
                else _per_photo(self.identity(image, self.target), image, "identity")
            )
        return losses

    def total(self, losses: Mapping[str, Tensor], *, every: int = 1) -> Tensor:
        """The weighted sum [N] of ``losses``; judges that are asked on each ``every``-th step count ``every`` times."""
        total = self.config.pixel_weight * losses["pixel"]
        for name in ("perceptual", "identity"):
            if name not in losses:
                continue
            total = total + every * getattr(self.config, f"{name}_weight") * losses[name]
        return total


def _wants(config: InversionConfig, role: str) -> bool:
    return getattr(config, role) == "own" and getattr(config, f"{role}_weight") > 0


def _per_photo(value: Tensor, image: Tensor, role: str) -> Tensor:
    if value.shape != image.shape[:1]:
        raise LatentEditError(
            f"The {role} judge returned shape {list(value.shape)} for {len(image)} photos.",
            f"It must return one distance per photo, [{len(image)}].",
        )
    return value
