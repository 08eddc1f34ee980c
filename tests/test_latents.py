"""Seeds and layers as they are written."""

from __future__ import annotations

import pytest

from latentedit.errors import LatentError, LayerError
from latentedit.latents import layer_indices, parse_seeds

RESOLUTIONS = (4, 8, 8, 16, 16, 32, 32)


def test_seeds_in_the_order_written() -> None:
    assert parse_seeds("7,0-3, 2 - 4") == [7, 0, 1, 2, 3, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-1", "Seeds '3-1' cannot be read"),
        ("", "cannot be read"),
        ("0-999999999999999999999999", r"Seed 999999999999999999999999 is too large\. Seeds run from 0 to 4294967295"),
        ("0-4294967295", "are 4294967296; at most 1000000 at once"),
        ("0-999999,5", "are 1000001; at most 1000000 at once"),
    ],
)
def test_seeds_that_are_none(text: str, message: str) -> None:
    with pytest.raises(LatentError, match=message):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("layers", "indices"),
    [
        ("coarse", (0, 1, 2)),
        ("middle", (3, 4, 5, 6)),
        ("0-2,5", (0, 1, 2, 5)),
        (None, tuple(range(7))),
        ([3, 1], (1, 3)),
    ],
)
def test_layers(layers: object, indices: tuple[int, ...]) -> None:
    assert layer_indices(layers, RESOLUTIONS) == indices  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", ["0-7", "0-99999999999999", "fine", "x", [], 9])
def test_layers_that_are_not_there(layers: object) -> None:
    with pytest.raises(LayerError, match="Choose 'coarse', 'middle', 'fine', or a range within '0-6'"):
        layer_indices(layers, RESOLUTIONS)  # type: ignore[arg-type]
