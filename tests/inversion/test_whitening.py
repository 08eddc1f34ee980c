from __future__ import annotations

import torch

from latentedit.inversion.whitening import LatentSpace
from latentedit.networks import Generator, GeneratorConfig


def test_coordinates_lead_back_to_the_latent(model):
    space = LatentSpace.measure(model.generator)
    ws = model.generator.mapping(torch.randn(4, 12)) * 1.5
    torch.testing.assert_close(space.to_ws(space.from_ws(ws)), ws, rtol=1e-4, atol=1e-5)
    assert torch.equal(space.to_ws(torch.zeros(1, 1, 12))[0, 0], model.generator.mapping.w_avg)


def test_latents_have_unit_variance_along_axes_above_the_floor(model):
    space = LatentSpace.measure(model.generator, floor=1e-6)
    w = model.generator.mapping(torch.randn(4000, 12, generator=torch.Generator().manual_seed(1)))[:, :1]
    u = space.from_ws(w)[:, 0]
    covariance = u.t() @ u / len(u)
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.15, rtol=0)


def test_the_floor_bounds_small_scales(model):
    free, bounded = (LatentSpace.measure(model.generator, floor=floor) for floor in (1e-6, 0.9))
    least = 0.9 * free.scales.square().mean().sqrt()
    torch.testing.assert_close(bounded.scales.min(), least)
    assert torch.equal(bounded.scales[free.scales > least], free.scales[free.scales > least])


def test_the_principal_subspace_holds_its_share_of_the_variance_and_the_nearest_points(model):
    space = LatentSpace.measure(model.generator)
    for share in (0.5, 0.9, 0.99):
        inner = space.within(share)
        kept = len(inner.axes)
        assert inner.variances.sum() >= share * space.variances.sum() > inner.variances[1:].sum()
        ws = model.generator.mapping(torch.randn(4, 12))
        near = inner.to_ws(inner.from_ws(ws))
        assert inner.from_ws(ws).shape == (4, ws.shape[1], kept)
        off = ws - near
        torch.testing.assert_close(off @ inner.axes.t(), torch.zeros(*ws.shape[:2], kept), atol=1e-4, rtol=0)
    assert len(space.within(1.0).axes) == 12


def test_conditional_generators_are_measured_over_their_classes():
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=8, z_dim=6, w_dim=6, c_dim=3, mapping_layers=2, channel_base=64, channel_max=8)
    space = LatentSpace.measure(Generator(config).eval(), samples=256)
    assert torch.isfinite(space.axes).all()
    torch.testing.assert_close(space.axes @ space.axes.t(), torch.eye(6), atol=1e-5, rtol=0)
