"""Which layers a direction acts on: the range that changes its own attribute and little else.

Karras et al. 2019, section 3.1: coarse layers govern pose and shape, middle ones features, fine ones colours.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentedit.directions.direction import Direction
from latentedit.directions.fitting.probe import LeakageMeter


def layer_ranges(layer_resolutions: Sequence[int]) -> list[tuple[int, ...]]:
    """Every contiguous range of whole resolutions, without the one of all layers."""
    sizes = sorted(set(layer_resolutions))
    ranges = []
    for first in range(len(sizes)):
        for last in range(first, len(sizes)):
            inside = sizes[first : last + 1]
            ranges.append(tuple(i for i, size in enumerate(layer_resolutions) if size in inside))
    return [chosen for chosen in ranges if len(chosen) < len(layer_resolutions)]


def choose_layers(
    meter: LeakageMeter,
    direction: Direction,
    layer_resolutions: Sequence[int],
    step: float,
    *,
    tolerance: float = 0.15,
    effect: float = 0.7,
    gain: float = 0.2,
) -> tuple[int, ...] | None:
    """The layers that pay the lowest price for their effect among the ranges that keep the share ``effect`` of the
    own change; None for all layers.

    A range must lower the price by the share ``gain`` to be preferred to all layers: where little is to be won, a
    latent in W should stay in W.
    """
    everywhere = meter.measure(direction.with_(layers=None), step)
    best, best_price = None, everywhere.price(tolerance) * (1 - gain)
    for layers in layer_ranges(layer_resolutions):
        leakage = meter.measure(direction.with_(layers=layers), step)
        if leakage.own >= effect * everywhere.own and leakage.price(tolerance) < best_price:
            best, best_price = layers, leakage.price(tolerance)
    return best
