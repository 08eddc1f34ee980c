"""What an edit starts from, and how a weight change shows in what becomes of it: renders put together by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentedit import edit, interpolate, mix
from latentedit.codes.delta import adapted
from latentedit.codes.refinement_mask import departure
from latentedit.editing.subject import subject_of
from latentedit.latents import layer_indices


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
