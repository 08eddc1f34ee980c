"""`Code`: rows, what lies between two codes, and pictures that leave the generator as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentedit.codes import Code
from latentedit.codes.code import blend_noise
from latentedit.codes.delta import adapted
from latentedit.codes.refinement_mask import departure
from latentedit.errors import LatentError
from latentedit.networks.stylegan3 import StyleGAN3Config, StyleGAN3Generator


def draw(network, code: Code, ws: torch.Tensor) -> torch.Tensor:
    return network.synthesis(ws, noise_mode="const", noise=code.noise or None)


def test_rows_are_taken_in_order_and_more_than_once(code):
    part = code.take([2, 0, 2])
    assert part.ws.equal(code.ws[[2, 0, 2]])
    assert all(part.noise[name].equal(value[[2, 0, 2]]) for name, value in code.noise.items())
    assert [delta is code.deltas[row] for delta, row in zip(part.deltas, (2, 0, 2), strict=True)] == [True] * 3
    moved = code.moved(code.ws + 1).take([1])
    assert moved.anchored.equal(code.ws[1:2])


def test_parts_of_different_rows_are_refused(code):
    for change in ({"ws": code.ws[:2]}, {"ws": code.ws[0]}, {"deltas": code.deltas[:1]}, {"anchor": code.ws[:1]}):
        with pytest.raises(LatentError, match="as many rows of everything else"):
            replace(code, **change)


def test_a_move_keeps_the_anchor_of_weight_changes_only(code):
    assert code.moved(code.ws + 1).moved(code.ws + 2).anchor.equal(code.ws)
    assert replace(code, deltas=()).moved(code.ws + 1).anchor is None


def test_joined_codes_show_what_each_shows(generator, code):
    plain = Code(code.ws + 0.5)
    joined = Code.cat([code, plain, code.moved(plain.ws)], generator)
    assert len(joined) == 9
    expected = [code.render(generator), plain.render(generator, batch=1), code.moved(plain.ws).render(generator)]
    torch.testing.assert_close(joined.render(generator), torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert joined.anchored[6:].equal(code.ws)
    with pytest.raises(LatentError, match="no codes to join"):
        Code.cat([], generator)


def test_a_weight_change_shows_where_the_picture_keeps_its_shapes(generator, code):
    ws = code.ws + 0.7
    images = code.moved(ws).render(generator)
    for row, delta in enumerate(code.deltas):
        one, at = code.take([row]), ws[row : row + 1]
        plain = draw(generator, one, at)
        if not delta:
            torch.testing.assert_close(images[row : row + 1], plain)
            continue
        share = departure(draw(generator, one, one.ws), plain)
        assert 0 < share.mean() < 1
        expected = (1 - share) * draw(adapted(generator, delta), one, at) + share * plain
        torch.testing.assert_close(images[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def test_pictures_count_themselves_and_none_makes_none(generator, code):
    counted: list[int] = []
    replace(code, deltas=()).render(generator, batch=2, advance=counted.append)
    code.render(generator, advance=counted.append)
    assert counted == [2, 1, 1, 1, 1]
    assert code.take([]).render(generator).shape == (0, 3, 16, 16)


def test_blends_end_in_the_codes_themselves(generator, code):
    other = Code(code.ws.flip(0) - 1)
    for share, expected in ((0.0, code), (1.0, other)):
        torch.testing.assert_close(
            code.blend(other, share, generator).render(generator), expected.render(generator), atol=1e-4, rtol=1e-4
        )
    layers = [0.0, 1.0, 0.0, 0.5, 0.0, 2.0]
    mixed = code.blend(other, layers, generator)
    for layer, share in enumerate(layers):
        torch.testing.assert_close(mixed.ws[:, layer], torch.lerp(code.ws[:, layer], other.ws[:, layer], share))
    stored = generator.synthesis.stored_noise("b8.conv0").expand(3, 1, 8, 8)
    assert mixed.noise["b8.conv0"].equal(stored)  # layer 1, whole
    assert mixed.noise["b8.conv1"].equal(code.noise["b8.conv1"])
    left, right = mixed.deltas[0]["b16.conv1.weight"]
    whole = code.deltas[0]["b16.conv1.weight"]
    torch.testing.assert_close(left @ right, 0.7 * whole[0] @ whole[1])  # 1.5 of five layers with noise


def test_a_generator_without_noise_blends_weight_changes_by_all_layers():
    config = StyleGAN3Config(
        resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, num_layers=3, num_critical=1, margin_size=2
    )
    generator = StyleGAN3Generator(config).eval()
    a = Code(torch.randn(1, 5, 8), deltas=({"x": (torch.ones(2, 1), torch.ones(1, 3))},))
    mixed = a.blend(Code(torch.randn(1, 5, 8)), [1, 0, 0, 0, 0], generator)
    left, right = mixed.deltas[0]["x"]
    torch.testing.assert_close(left @ right, torch.full((2, 3), 0.8))
    assert mixed.noise == {}


def test_blended_noise_keeps_its_strength():
    a, b = ({"x": torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(i))} for i in (0, 1))
    half = blend_noise(a, b, {"x": 0.5})["x"]
    assert float(half.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(blend_noise(a, b, {})["x"], a["x"])
    assert torch.equal(blend_noise(a, b, {"x": 1.0})["x"], b["x"])


def test_a_picture_never_changes_the_generator(generator, code):
    """Not its tensors, not the modules that hold them, and not for the time of a call either."""
    modules = dict(generator.named_modules())
    tensors = {name: (id(t), t._version) for name, t in [*generator.named_parameters(), *generator.named_buffers()]}
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            now = [*generator.named_parameters(), *generator.named_buffers()]
            seen.append({name: (id(t), t._version) for name, t in now} == tensors)
            return function(*arguments, **(options or {}))

    with Watch():
        code.moved(code.ws + 0.5).render(generator)
    assert len(seen) > 50
    assert all(seen)
    assert all(module is modules[name] for name, module in generator.named_modules())
