"""`mix`: layers of one face in another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit.editing import edit, mix
from latentedit.errors import LatentError, LayerError
from latentedit.inversion import Inversion
from latentedit.models import Model


@pytest.fixture
def other(model: Model, ws: Tensor, make_inversion, make_photo) -> Inversion:
    return make_inversion(model, ws[1:2], make_photo(), (70, 60, 16), seed=1)


@pytest.mark.parametrize(
    ("layers", "taken"), [("coarse", [0, 1, 2]), ("middle", list(range(3, 8))), ("1,4-5", [1, 4, 5])]
)
def test_layers_of_b_replace_those_of_a(model: Model, ws: Tensor, layers: str, taken: list[int]) -> None:
    mixed = mix(ws[:1], ws[1:2], layers=layers, model=model).ws[0]
    for layer in range(len(mixed)):
        expected = ws[1, layer] if layer in taken else ws[0, layer]
        torch.testing.assert_close(mixed[layer], expected)


def test_partial_strength_goes_part_of_the_way(model: Model, ws: Tensor) -> None:
    mixed = mix(ws[:1], ws[1:2], layers=None, strength=0.25, model=model).ws
    torch.testing.assert_close(mixed, 0.75 * ws[:1] + 0.25 * ws[1:2])
    torch.testing.assert_close(mix(ws[:1], ws[1:2], strength=0, model=model).ws, ws[:1])


def test_both_ends_show_the_faces_themselves(model: Model, inversion: Inversion, other: Inversion) -> None:
    """Noise goes with its layers: without that, all layers of B would still not be B."""
    everything = mix(inversion, other, layers=None, model=model)
    np.testing.assert_array_equal(np.asarray(everything.image), np.asarray(other.image))
    nothing = mix(inversion, other, strength=0, model=model)
    np.testing.assert_array_equal(np.asarray(nothing.image), np.asarray(inversion.image))


def test_noise_of_kept_layers_stays(model: Model, inversion: Inversion, other: Inversion) -> None:
    noise = mix(inversion, other, layers="0-2", model=model).subject.noise
    names = list(model.generator.synthesis.noise_shapes)
    for layer, name in enumerate(names):
        torch.testing.assert_close(noise[name], (other if layer <= 2 else inversion).noise[name])


def test_the_result_goes_back_into_the_photo_of_a(
    model: Model, inversion: Inversion, other: Inversion, make_photo
) -> None:
    pasted = np.asarray(mix(inversion, other, layers="coarse", model=model).paste_back())
    photo = np.asarray(make_photo())
    assert pasted.shape == photo.shape
    assert (pasted != photo).any()
    assert (pasted[:, :8] == photo[:, :8]).all()


def test_one_face_mixes_with_a_batch(model: Model, ws: Tensor) -> None:
    mixed = mix(ws[:1], ws, layers="0", model=model).ws
    torch.testing.assert_close(mixed[:, 0], ws[:, 0])
    torch.testing.assert_close(mixed[:, 1:], ws[:1, 1:].expand(3, -1, -1))
    torch.testing.assert_close(mix(ws, ws[:1], layers="0", model=model).ws[:, 0], ws[:1, 0].expand(3, -1))
    with pytest.raises(LatentError, match="2 faces cannot be mixed with 3"):
        mix(ws[:2], ws, model=model)


def test_mixes_can_be_edited(model: Model, inversion: Inversion, other: Inversion) -> None:
    mixed = mix(inversion, other, layers="coarse", model=model)
    moved = edit(mixed, distance={"age": 1.0})
    assert torch.linalg.vector_norm(moved.ws - mixed.ws) > 0.5
    torch.testing.assert_close(moved.subject.noise["b4.conv1"], other.noise["b4.conv1"])


def test_errors(model: Model, ws: Tensor) -> None:
    with pytest.raises(LayerError, match="'fine' is empty in a generator of 32 px"):
        mix(ws[:1], ws[1:2], layers="fine", model=model)
    with pytest.raises(LatentError, match="strength=nan is no finite number"):
        mix(ws[:1], ws[1:2], strength=float("nan"), model=model)
