"""What an inversion compares: pixels at several scales, perception, and identity.

Legend: ``N`` photos, ``R`` resolution; images [N,3,R,R] in [-1,1]; every loss is [N], one value per photo, so that
no photo of a batch feels its neighbours.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from latentedit.errors import LatentEditError, MissingExtraError, ModelError
from latentedit.images import resize
from latentedit.inversion.config import Distance, InversionConfig
from latentedit.networks import FacePerception, Perception
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
    last: list[tuple[Tensor, list[Tensor]]] = []

    def distance(image: Tensor, target: Tensor) -> Tensor:
        if not last or last[0][0] is not target:  # a descent compares with the same target again and again
            with torch.no_grad():
                last[:] = [(target, network.features(resize(target, _LPIPS_SIDE)))]
        return network.compare(network.features(resize(image, _LPIPS_SIDE)), last[0][1])

    return distance


@dataclass(frozen=True)
class Objective:
    """The losses of a batch of targets, with what can be computed of the targets beforehand.

    ``target`` and ``weights`` have the size that is compared, ``full`` (image and weights) the generator's.
    """

    target: Tensor
    weights: Tensor | None
    full: tuple[Tensor, Tensor | None]
    config: InversionConfig
    perception: FacePerception | None
    seen: Perception | None
    perceptual: Distance | None
    identity: Distance | None

    @classmethod
    def build(
        cls,
        target: Tensor,
        *,
        config: InversionConfig,
        perception: FacePerception | None,
        weights: Tensor | None = None,
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
        full = (target, weights)
        size = min(config.compare_size, target.shape[-1])
        target, weights = resize(target, size), None if weights is None else resize(weights, size).clamp(0, 1)
        with torch.no_grad():
            seen = perception.perceive(target) if own and perception is not None else None
        judges = {
            role: resolve_judge(getattr(config, role), role=role, device=target.device)
            for role in ("perceptual", "identity")
        }
        return cls(target, weights, full, config, perception, seen, **judges)

    @property
    def has_judges(self) -> bool:
        """Whether anything but pixels counts."""
        config = self.config
        return bool(
            (config.perceptual is not None and config.perceptual_weight)
            or (config.identity is not None and config.identity_weight)
        )

    def windows(self, stream: torch.Generator) -> list[tuple[slice, slice]]:
        """Rows and columns of the windows that are compared at full resolution on one step, drawn from ``stream``."""
        size, room = self.target.shape[-1], self.full[0].shape[-1] - self.target.shape[-1]
        if not room or not self.config.detail_weight:
            return []
        places = torch.randint(room + 1, (self.config.detail_crops, 2), generator=stream).tolist()
        return [(slice(top, top + size), slice(left, left + size)) for top, left in places]

    def __call__(
        self, image: Tensor, *, judged: bool = True, windows: Sequence[tuple[slice, slice]] = ()
    ) -> dict[str, Tensor]:
        """Unweighted losses by name, each [N], of ``image`` [N,3,R,R]; unless ``judged`` only the pixels, which cost
        next to nothing."""
        target, weights = self.full
        if weights is not None:
            # What does not count is grey in both images, so that nothing there makes a difference to any loss.
            image = image * weights
        levels, detail = self.config.pixel_levels, image.new_zeros(len(image))
        for rows, columns in windows:
            shown, wanted = image[..., rows, columns], target[..., rows, columns]
            counted = None if weights is None else weights[..., rows, columns]
            detail = detail + pixel_loss(shown, wanted, counted, levels=levels) / len(windows)
        image = resize(image, self.target.shape[-1])
        losses = {"pixel": pixel_loss(image, self.target, self.weights, levels=levels)}
        if windows:
            losses["detail"] = detail
        if not judged or not self.has_judges:
            return losses
        own = self._own_distances(image)
        for role, judge in (("perceptual", self.perceptual), ("identity", self.identity)):
            if getattr(self.config, role) is None or not getattr(self.config, f"{role}_weight"):
                continue
            losses[role] = own[role]() if judge is None else _per_photo(judge(image, self.target), image, role)
        return losses

    def _own_distances(self, image: Tensor) -> dict[str, Callable[[], Tensor]]:
        """The perception network's distances to the target, of one look at ``image``."""
        if self.perception is None or self.seen is None:
            return {}
        network, seen, sight = self.perception, self.seen, self.perception.perceive(image)
        return {
            "perceptual": lambda: network.perceptual_distance(sight, seen),
            "identity": lambda: network.identity_distance(sight, seen),
        }

    def total(self, losses: Mapping[str, Tensor], *, every: int = 1) -> Tensor:
        """The weighted sum [N] of ``losses``; judges that are asked on each ``every``-th step count ``every`` times."""
        total = self.config.pixel_weight * losses["pixel"]
        for name in ("perceptual", "identity"):
            if name in losses:
                total = total + every * getattr(self.config, f"{name}_weight") * losses[name]
        return total + self.config.detail_weight * losses["detail"] if "detail" in losses else total


def _wants(config: InversionConfig, role: str) -> bool:
    return getattr(config, role) == "own" and getattr(config, f"{role}_weight") > 0


def _per_photo(value: Tensor, image: Tensor, role: str) -> Tensor:
    if value.shape != image.shape[:1]:
        raise LatentEditError(
            f"The {role} judge returned shape {list(value.shape)} for {len(image)} photos.",
            f"It must return one distance per photo, [{len(image)}].",
        )
    return value
