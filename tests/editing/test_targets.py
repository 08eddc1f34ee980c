"""From what was asked for by name to directions and amounts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentedit.editing import edit
from latentedit.errors import (
    DirectionError,
    LatentEditError,
    LatentError,
    LayerError,
)
from latentedit.inversion import Inversion
from latentedit.models import Model


def test_errors_name_what_is_wrong_and_what_is_known(model: Model, ws: Tensor, inversion: Inversion) -> None:
    with pytest.raises(DirectionError, match=r"Unknown attribute 'smiel'.*'tiny': age, smile"):
        edit(ws, model=model, smiel=1)
    with pytest.raises(DirectionError, match="'age' is asked for twice"):
        edit(ws, model=model, age=1, distance={"age": 1})
    with pytest.raises(DirectionError, match=r"age='old' is no number"):
        edit(ws, model=model, age="old")
    with pytest.raises(DirectionError, match=r"age=nan is no finite number"):
        edit(ws, model=model, age=float("nan"))
    with pytest.raises(DirectionError, match=r"smile=1\.5 is no score"):
        edit(ws, model=model, smile=1.5)
    with pytest.raises(LatentError, match="NaN or infinite values in row 1"):
        edit(torch.where(torch.arange(3)[:, None, None] == 1, torch.nan, ws), model=model, age=1)
    with pytest.raises(LatentError, match=r"takes ws \[N, 8, 16\]"):
        edit(torch.zeros(1, 5, 16), model=model, age=1)
    with pytest.raises(LayerError, match="lies outside this generator's 8 layers"):
        edit(ws, model=model, age=1, layers="0-9")
    with pytest.raises(LatentError, match="A photo has to be inverted first"):
        edit("photo.jpg", model=model, age=1)
    with pytest.raises(LatentError, match="A dict cannot be edited"):
        edit({}, model=model, age=1)
    with pytest.raises(LatentError, match="nothing to work on"):
        edit([], model=model, age=1)
    with pytest.raises(LatentEditError, match="Both a generator and a model"):
        edit(ws, model=model, generator=model.generator, age=1)


def test_a_list_of_amounts_makes_a_batch_of_one_face(model: Model, ws: Tensor) -> None:
    changed = edit(ws[:1], model=model, distance={"age": [-3, 0, 3]})
    assert len(changed.images) == 3
    torch.testing.assert_close(changed.ws[1], ws[0])
    with pytest.raises(LatentError, match=r"2 latents.*Give one"):
        edit(ws[:2], model=model, distance={"age": [1, 2, 3]})
