"""What an edit starts from, and how a weight change shows in what becomes of it: renders put together by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit import edit, interpolate, mix
from latentedit.codes.delta import adapted
from latentedit.codes.refinement_mask import departure
from latentedit.directions import Direction
from latentedit.editing import Subject
from latentedit.editing.subject import subject_of
from latentedit.errors import (
    FingerprintError,
)
from latentedit.inversion import Inversion
from latentedit.latents import layer_indices
from latentedit.models import Model
from latentedit.networks import Generator, GeneratorConfig


@pytest.fixture
def refined(model, inversion):
    """The inversion with a change of the weights that shows everywhere."""
    weight = model.generator.synthesis.get_parameter("b32.conv0.weight")
    stream = torch.Generator().manual_seed(5)
    factors = (0.5 * torch.randn(len(weight), 2, generator=stream), torch.randn(2, weight[0].numel(), generator=stream))
    return replace(inversion, code=replace(inversion.code, deltas=({"b32.conv0.weight": factors},)))


def by_hand(model, inversion, ws, anchor):
    def render(generator, at):
        return generator.synthesis(at, noise_mode="const", noise=inversion.noise)

    share = departure(render(model.generator, anchor), render(model.generator, ws))
    refined = render(adapted(model.generator, inversion.delta), ws)
    return (1 - share) * refined + share * render(model.generator, ws), share


def test_an_edit_shows_the_refinement_where_the_shapes_stay(model, refined):
    before = subject_of(refined, model=model)
    tuned = adapted(model.generator, refined.delta).synthesis(refined.ws, noise_mode="const", noise=refined.noise)
    torch.testing.assert_close(before.render(), tuned)
    far = edit(refined, model=model, distance={"age": 2.0}, verify=False)
    expected, share = by_hand(model, refined, far.ws, refined.ws)
    assert 0.01 < share.mean() < 0.99
    torch.testing.assert_close(far.subject.render(), expected, atol=1e-5, rtol=1e-5)
    twice = edit(far, distance={"smile": 0.5}, verify=False)
    expected, _ = by_hand(model, refined, twice.ws, refined.ws)
    torch.testing.assert_close(twice.subject.render(), expected, atol=1e-5, rtol=1e-5)
    back = edit(twice, distance={"smile": -0.5, "age": -2.0}, verify=False)
    torch.testing.assert_close(back.subject.render(), tuned, atol=1e-3, rtol=1e-3)


def test_what_blends_latents_blends_what_their_weights_were_made_for(model, refined, ws):
    far = edit(refined, model=model, distance={"age": 2.0}, verify=False)
    film = interpolate([refined, far], frames=3, easing="linear", model=model)
    assert film.keys.code.anchored.equal(torch.cat([refined.ws, refined.ws]))
    expected, _ = by_hand(model, refined, film.ws[1:2], refined.ws)
    torch.testing.assert_close(film.subject(1, 2).render(), expected, atol=1e-5, rtol=1e-5)
    both = mix(far, ws[1:2], layers="coarse", model=model)
    coarse = list(layer_indices("coarse", model.generator.synthesis.layer_resolutions))
    anchor = refined.ws.clone()
    anchor[:, coarse] = ws[1:2, coarse]
    torch.testing.assert_close(both.subject.code.anchored, anchor)
    plain = mix(refined, ws[1:2], layers="coarse", model=model).subject
    assert plain.code.anchored.equal(plain.ws)
    pair = subject_of([far, ws[1:2]], model=model)
    assert pair.code.anchored.equal(torch.cat([refined.ws, ws[1:2]]))
    assert pair.take([1, 0]).code.anchored.equal(torch.cat([ws[1:2], refined.ws]))


def direction(model: Model, name: str) -> Direction:
    return Direction.load(model.directions / f"{name}.safetensors", model)


def test_an_inversion_keeps_its_noise(model: Model, inversion: Inversion) -> None:
    unchanged = edit(inversion, model=model)
    np.testing.assert_array_equal(np.asarray(unchanged.image), np.asarray(inversion.image))
    changed = edit(inversion, model=model, distance={"age": 1})
    expected = inversion.render(model.generator, inversion.ws + direction(model, "age").normal)
    np.testing.assert_array_equal(np.asarray(changed.image), np.asarray(expected))


def test_a_weight_change_of_an_inversion_is_rendered(model: Model, inversion: Inversion) -> None:
    from dataclasses import replace

    weight = model.generator.synthesis.b8.conv0.weight
    stream = torch.Generator().manual_seed(0)
    left = torch.randn(weight.shape[0], 1, generator=stream)
    factors = (left, torch.randn(1, weight[0].numel(), generator=stream))
    changed = replace(inversion, code=replace(inversion.code, deltas=({"b8.conv0.weight": factors},)))
    changed = replace(changed, image=changed.render(model.generator))
    shown = edit([changed, inversion], model=model).images
    np.testing.assert_array_equal(np.asarray(shown[0]), np.asarray(changed.image))
    np.testing.assert_array_equal(np.asarray(shown[1]), np.asarray(inversion.image))
    assert (np.asarray(shown[0]) != np.asarray(shown[1])).any()


def test_inversions_and_latents_make_one_batch(model: Model, inversion: Inversion, ws: Tensor) -> None:
    changed = edit([inversion, ws[1:]], model=model, distance={"smile": 1})
    assert changed.ws.shape == (3, *ws.shape[1:])
    alone = edit(ws[1:2], model=model, distance={"smile": 1})
    np.testing.assert_allclose(changed.pixels[1], alone.pixels[0], atol=1e-4)


def test_files_of_latents_are_read(model: Model, inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "a.safetensors")
    changed = edit(tmp_path / "a.safetensors", model=model, distance={"age": 1})
    changed.save(tmp_path / "edited.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "edited.npz")["w"], changed.ws.numpy())
    again = edit(tmp_path / "edited.npz", model=model)
    torch.testing.assert_close(again.ws, changed.ws)


def test_other_generators_are_refused(model: Model, inversion: Inversion, ws: Tensor) -> None:
    torch.manual_seed(9)
    config = GeneratorConfig(resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
    other = Model(name="other", generator=Generator(config).eval(), directions=model.directions)
    with pytest.raises(FingerprintError, match=f"{model.fingerprint}, not to {other.fingerprint}"):
        edit(inversion, model=other)
    with pytest.raises(FingerprintError, match="Direction 'age' belongs to the generator"):
        edit(ws, model=other, distance={"age": 1})
    with pytest.raises(FingerprintError, match="The latents belong to the generator"):
        edit(edit(inversion, model=model), model=other)


def test_subject_renders_in_batches_and_reports(model: Model, ws: Tensor) -> None:
    many = subject_of(ws.repeat(4, 1, 1), model=model)
    counted: list[int] = []
    images = many.render(counted.append)
    assert sum(counted) == 12
    assert isinstance(many, Subject)
    torch.testing.assert_close(images[:3], images[9:], atol=1e-5, rtol=1e-5)
