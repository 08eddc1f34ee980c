"""Single channels of the styles as directions, and which attributes and parts of the face each one moves.

Wu et al. 2021 ("StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation") find controls among single
style channels by the gradients of regions, and by classifiers. Here a channel is a direction of the one row of W+ that
drives it, so that it is edited, stored and calibrated as every other. One backward pass an attribute and face gives
what *all* channels do to the attribute; random projections of a region's pixels (Hutchinson 1990) give the same for
how much its pixels change.

Legend: ``F`` faces, ``L`` rows of ws, ``D`` = w_dim, ``C`` channels of all layers, ``K`` attributes or regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentedit.attributes import PROBABILITY, get_unit
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError
from latentedit.networks import StyleGenerator

MOVE = 4.0
"""Standard deviations that a channel is moved by: a single one of some hundred in a layer does little in one."""

PROJECTIONS = 2
"""Random projections of a region's pixels per face."""

_RIDGE = 1e-4
_LOG_ODDS = 4.0  # what half a probability is in log-odds about its middle, from 0.12 to 0.88: the span of gradients
_EDGE = 1e-6


@dataclass(frozen=True)
class Channels:
    """Channels of ``layers`` [C] by their ``numbers`` [C] there, and the displacement [C, D] of the layer's row that
    moves each by `MOVE` of its standard deviations, as far as the row can move it alone."""

    layers: np.ndarray
    numbers: np.ndarray
    moves: Tensor

    def __len__(self) -> int:
        return len(self.layers)

    def gained(self, gradient: Tensor) -> Tensor:
        """First-order change [F, C] of a quantity with ``gradient`` [F, L, D] with respect to ws."""
        rows = gradient[:, torch.as_tensor(self.layers)]
        return torch.einsum("fcd,cd->fc", rows, self.moves.to(gradient))


def style_channels(generator: StyleGenerator, layers: tuple[int, ...], covariance: np.ndarray) -> Channels:
    """All channels of ``layers``; ``covariance`` [D, D] is that of w.

    What else the row drives (other channels, colours, the step between resolutions) is held still by least squares,
    exactly where the row has as many dimensions as there are channels.

    Raises:
        DirectionError: a generator without style matrices at these layers.
    """
    spread = torch.as_tensor(covariance, dtype=torch.float64)
    beside: dict[int, list[Tensor]] = {}
    for row, weight in generator.synthesis.side_weights():
        beside.setdefault(row, []).append(weight.double().cpu())
    found, numbers, moves = [], [], []
    for row, weight in generator.synthesis.style_weights():
        if row not in layers:
            continue
        own = weight.double().cpu()
        every = torch.cat([own, *beside.get(row, [])])
        deviation = (every @ spread * every).sum(1).clamp_min(1e-12).sqrt()  # of each style among samples
        scaled = every / deviation[:, None]
        gram = scaled.T @ scaled
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        solved = torch.linalg.solve(gram + ridge, scaled[: len(own)].T).T
        alone = (solved * scaled[: len(own)]).sum(1, keepdim=True)
        found += [row] * len(own)
        numbers += range(len(own))
        moves.append((MOVE * solved / alone.clamp_min(1e-3)).float())
    if not moves:
        raise DirectionError("The generator has no style channels there.", "Choose other layers, or another method.")
    return Channels(np.array(found), np.array(numbers), torch.cat(moves))


@dataclass(frozen=True)
class Influence:
    """What each channel does: ``attributes`` name -> signed mean change [C] in spans of the unit (see `Unit`), and
    ``regions`` name -> root mean square change [C] of its pixels."""

    attributes: Mapping[str, np.ndarray]
    regions: Mapping[str, np.ndarray]


def influence(
    probe: Probe,
    channels: Channels,
    ws: Tensor,
    names: tuple[str, ...],
    regions: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Influence:
    """First-order influence of ``channels`` on the attributes ``names`` and on ``regions`` (masks [R,R] of the probe's
    pictures), the mean over the faces ``ws`` [F, L, D]. ``progress`` is called with backward passes done."""
    tell = progress or (lambda passes: None)
    device = ws.device
    random = torch.Generator().manual_seed(seed)
    masks = {name: torch.from_numpy(mask).to(device) for name, mask in regions.items()}
    gains = {name: np.zeros(len(channels)) for name in names}
    energy = {name: np.zeros(len(channels)) for name in regions}
    for face in ws.split(1):
        start = face.detach().requires_grad_(True)
        image = probe.render(start)
        for name, pull in _score_gradients(probe, image, names).items():
            (gradient,) = torch.autograd.grad(image, start, pull, retain_graph=True)
            gains[name] += channels.gained(gradient)[0].double().cpu().numpy() / len(ws)
            tell(1)
        for name, mask in masks.items():
            for _ in range(PROJECTIONS):
                pull = torch.randn(image.shape, generator=random).to(device) * mask / mask.sum().sqrt()
                (gradient,) = torch.autograd.grad(image, start, pull, retain_graph=True)
                square = channels.gained(gradient)[0].double().square().cpu().numpy()
                energy[name] += square / (image.shape[1] * PROJECTIONS * len(ws))
                tell(1)
    return Influence(gains, {name: np.sqrt(value) for name, value in energy.items()})


def _score_gradients(probe: Probe, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Gradients of the scores ``names``, in spans of their units, with respect to ``image`` [1,3,R,R]."""
    picture = image.detach().requires_grad_(True)
    scores = probe.read(picture)[1]
    pulls = {}
    for name in names:
        unit = probe.units[name]
        score = scores[name].double()
        even = torch.logit(score, _EDGE) / _LOG_ODDS if unit == PROBABILITY else score / get_unit(unit).span
        (pulls[name],) = torch.autograd.grad(even.sum(), picture, retain_graph=True)
    return pulls


def choose_channels(found: Influence, count: int) -> list[int]:
    """Numbers of ``count`` channels that do much to one attribute or part of the face and little to the rest, taken in
    turn from the best of each."""
    ranked = [*_specific(found.attributes), *_specific(found.regions)]
    orders = [iter(order) for order in sorted(ranked, key=lambda order: -order[0][0])]
    chosen: list[int] = []
    while len(chosen) < count and orders:
        for order in list(orders):
            number = next((number for _, number in order if number not in chosen), None)
            if number is None:
                orders.remove(order)
            elif len(chosen) < count:
                chosen.append(number)
    return chosen


def _specific(effects: Mapping[str, np.ndarray]) -> list[list[tuple[float, int]]]:
    """For each name the channels from the most specific on: size of the effect, as a multiple of the median channel's,
    times the share that it has in all effects of the channel."""
    if not effects:
        return []
    sizes = np.stack([np.abs(values) for values in effects.values()])
    sizes = sizes / np.maximum(np.median(sizes, axis=1, keepdims=True), 1e-9)
    merit = sizes * sizes / np.maximum(sizes.sum(axis=0, keepdims=True), 1e-9)
    return [[(float(row[i]), int(i)) for i in np.argsort(-row, kind="stable")] for row in merit]
