"""`edit`: arithmetic on latents in honest units."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentedit.directions import Direction
from latentedit.editing import edit
from latentedit.inversion import Inversion
from latentedit.models import Model
from latentedit.networks import Generator


def direction(model: Model, name: str) -> Direction:
    return Direction.load(model.directions / f"{name}.safetensors", model)


def test_raw_distances_are_exact_arithmetic(model: Model, ws: Tensor, judge) -> None:
    changed = edit(ws, model=model, distance={"age": 2, "smile": [-1, 0, 0.5]})
    expected = ws + 2 * direction(model, "age").normal
    expected = expected + torch.tensor([-1, 0, 0.5])[:, None, None] * direction(model, "smile").normal
    torch.testing.assert_close(changed.ws, expected)
    assert judge.calls == 0  # nothing is rendered for an edit by distance


def test_layers_limit_where_directions_act(model: Model, ws: Tensor) -> None:
    changed = edit(ws, model=model, distance={"age": 2}, layers="2-4,7").ws - ws
    moved = changed.abs().amax(dim=(0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [2, 3, 4, 7]
    coarse = edit(ws, model=model, distance={"age": 2}, layers="coarse").ws - ws
    resolutions = model.generator.synthesis.layer_resolutions
    assert (coarse.abs().amax(dim=(0, 2)) > 0).tolist() == [r <= 8 for r in resolutions]


def test_rows_do_not_depend_on_their_neighbours(model: Model, ws: Tensor) -> None:
    together = edit(ws, model=model, age=4, smile=0.7).ws
    for row in range(len(ws)):
        alone = edit(ws[row : row + 1], model=model, age=4, smile=0.7).ws
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


def test_edits_can_be_edited_on(model: Model, inversion: Inversion) -> None:
    twice = edit(edit(inversion, model=model, distance={"age": 1}), distance={"smile": 2})
    once = edit(inversion, model=model, distance={"age": 1, "smile": 2})
    torch.testing.assert_close(twice.ws, once.ws)
    np.testing.assert_array_equal(np.asarray(twice.paste_back()), np.asarray(once.paste_back()))


def test_a_bare_generator_works_with_directions_of_ones_own(generator: Generator, model: Model, ws: Tensor) -> None:
    own = direction(model, "age")
    changed = edit(ws, generator=generator, directions={"age": own}, distance={"age": 1})
    torch.testing.assert_close(changed.ws, ws + own.normal)
    folder = edit(ws, generator=generator, directions=model.directions, distance={"age": 1})
    torch.testing.assert_close(folder.ws, changed.ws)
