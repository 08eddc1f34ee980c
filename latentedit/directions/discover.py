"""Directions that nobody labelled, found by three methods, measured, and named by what they change.

``sefa``: the style weights' singular vectors (`discover_weights`); ``pca``: principal components of W
(`discover_components`); ``channels``: single style channels (`channels`). Legend: ``F`` faces, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentedit.attributes import TABLE
from latentedit.directions.channels import choose_channels, influence, style_channels
from latentedit.directions.components import discover_components, discover_weights
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.fit import fingerprint_of
from latentedit.directions.fitting.probe import Probe
from latentedit.directions.found import Found, measure_found, named
from latentedit.errors import DirectionError
from latentedit.latents import layer_indices, seed_z

METHODS = ("sefa", "pca", "channels")

SEEN = 0.15
"""Root mean square change of the pixels, on their range of 2, that a step is to make in the part of the face that it
changes most: plain on a contact sheet, where 0.05 has to be looked for and twice 0.2 begins to tear single features."""

FACTORS = (1.0, 2.0, 4.0)
"""Multiples of a direction's spread among samples that are tried for its step."""

_SALIENT = frozenset({"face", "expression", "pose", "make-up", "hair", "beard", "worn"})  # groups of attributes


@dataclass(frozen=True)
class DiscoverConfig:
    """What to look for: ``count`` directions by each of ``methods``, acting on ``layers`` (None: all).

    ``samples`` latents give the components and spreads; ``faces`` of ``seed``, at truncation ``psi``, are moved.
    """

    methods: tuple[str, ...] = METHODS
    count: int = 12
    layers: str | Sequence[int] | None = None
    samples: int = 4000
    faces: int = 4
    psi: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods:
            raise DirectionError(f"Method {unknown} is unknown.", f"Choose among {', '.join(METHODS)}.")
        if min(self.count, self.faces) < 1 or self.samples < 100:
            raise DirectionError(
                f"{self.count} directions on {self.faces} faces and {self.samples} samples are too few.",
                "Ask for one direction, one face and 100 samples at least.",
            )


def discover_directions(
    probe: Probe,
    config: DiscoverConfig | None = None,
    *,
    regions: Mapping[str, np.ndarray],
    report: Callable[[str], None] | None = None,
) -> list[Found]:
    """Directions of the probe's generator, method by method, each measured on a few faces and named after what it does.

    ``regions`` are masks [R, R] of the probe's pictures (`latentedit.faces.regions.face_regions`); ``report`` is called
    with what is being done.

    Raises:
        DirectionError: more directions than there are dimensions. LayerError: layers that the generator does not have.
    """
    config = config or DiscoverConfig()
    say = report or (lambda text: None)
    w = sample_w(probe, config.samples, seed=config.seed)
    ws = face_ws(probe, config)
    results: list[Found] = []
    for method in config.methods:
        say(f"{method}: looking for {config.count} directions")
        for direction in _FINDERS[method](probe, config, w, ws, regions):
            step = _seen_step(probe, direction, ws[:1], w, regions)
            found = measure_found(probe, direction, ws, method=method, step=step, regions=regions)
            results.append(_with_step(found))
    return named(results, probe.units)


@torch.no_grad()
def sample_w(probe: Probe, count: int, *, seed: int) -> np.ndarray:
    """``count`` latents w [N, D] as the mapping network draws them."""
    generator, parts = probe.generator, []
    for first in range(0, count, 500):
        z = seed_z(range(seed + first, seed + min(first + 500, count)), generator.z_dim).to(probe.device)
        parts.append(generator.mapping(z, _labels(probe, len(z)))[:, 0].float().cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def face_ws(probe: Probe, config: DiscoverConfig) -> Tensor:
    """The faces [F, L, D] that directions are tried on."""
    generator = probe.generator
    z = seed_z(range(config.seed, config.seed + config.faces), generator.z_dim).to(probe.device)
    return generator.mapping(z, _labels(probe, len(z)), truncation_psi=config.psi)


def _labels(probe: Probe, count: int) -> Tensor | None:
    """Class 0 for every one of ``count`` latents of a conditional generator."""
    if probe.generator.c_dim == 0:
        return None
    return torch.eye(probe.generator.c_dim, device=probe.device)[:1].expand(count, -1)


Finder = Callable[[Probe, DiscoverConfig, np.ndarray, Tensor, Mapping[str, np.ndarray]], list[Direction]]


def _components(probe: Probe, config: DiscoverConfig, w: np.ndarray, *_: object) -> list[Direction]:
    return discover_components(w, config.count, generator=probe.generator, layers=config.layers)


def _weights(probe: Probe, config: DiscoverConfig, *_: object) -> list[Direction]:
    return discover_weights(probe.generator, config.count, layers=config.layers)


def _channels(
    probe: Probe, config: DiscoverConfig, w: np.ndarray, ws: Tensor, regions: Mapping[str, np.ndarray]
) -> list[Direction]:
    generator = probe.generator
    layers = layer_indices(config.layers, generator.synthesis.layer_resolutions)
    channels = style_channels(generator, tuple(layers), np.cov(w, rowvar=False))
    names = tuple(a.name for a in TABLE if a.group in _SALIENT and a.name in probe.units and a.name != "roll")
    found = influence(probe, channels, ws, names, regions, seed=config.seed, progress=probe.progress)
    digest, directions = fingerprint_of(generator), []
    for index in choose_channels(found, config.count):
        layer, number = int(channels.layers[index]), int(channels.numbers[index])
        normal = torch.zeros(generator.num_ws, generator.w_dim)
        normal[layer] = channels.moves[index]
        length = float(normal.double().square().sum(-1).mean().sqrt())
        directions.append(
            Direction(
                name=f"channel{layer}_{number}",
                normal=normal,
                layers=(layer,),
                fingerprint=digest,
                metrics={"spread": length},
                settings={"discovered": "channels", "layer": layer, "channel": number},
            )
        )
    return directions


_FINDERS: dict[str, Finder] = {"sefa": _weights, "pca": _components, "channels": _channels}


def _seen_step(
    probe: Probe, direction: Direction, ws: Tensor, w: np.ndarray, regions: Mapping[str, np.ndarray]
) -> float:
    """The smallest multiple of the direction's spread that changes the picture plainly, or the largest tried."""
    spread = float(direction.metrics.get("spread") or np.std(w @ direction.normal.double().numpy()))
    step = 0.0
    for factor in FACTORS:
        step = factor * spread
        low = probe.images(ws + direction.displacement(ws, -step))
        high = probe.images(ws + direction.displacement(ws, step))
        change = (high - low).square().mean((0, 1)).cpu().numpy()
        if max(change[mask].mean() for mask in regions.values()) >= SEEN**2:
            break
    return step


def _with_step(found: Found) -> Found:
    metrics = {**found.direction.metrics, "step": found.step, "identity": found.identity}
    return Found(**{**vars(found), "direction": found.direction.with_(metrics=metrics)})
