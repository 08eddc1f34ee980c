"""The wide view: what it reads, when the perception network listens to it, and that files keep it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from latentedit.errors import ModelError
from latentedit.models import load_network, save_network
from latentedit.networks.perception import PerceptionConfig, PerceptionNetwork, extend
from latentedit.networks.wide_view import WideConfig, WideView

SMALL = PerceptionConfig(
    size=32, widths=(8, 16), blocks=(1, 1), hidden=12, identity_dim=10, age_bins=21,
    attributes=("smile", "hat", "bald"), folded=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def view() -> WideView:
    torch.manual_seed(0)
    view = WideView(WideConfig(("bald", "hat"), size=48, hidden=8)).eval().requires_grad_(False)
    view.slope.copy_(torch.tensor([2.0, 0.5]))
    view.offset.copy_(torch.tensor([-1.0, 1.0]))
    return view


@pytest.fixture(scope="module")
def own() -> PerceptionNetwork:
    torch.manual_seed(1)
    return PerceptionNetwork(SMALL).eval().requires_grad_(False)


def images(size: int = 96) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_features_are_means_over_cells_of_the_tapped_maps(view: WideView) -> None:
    x = images(48)
    first, last = view.trunk(x)
    expected = [F.adaptive_avg_pool2d(first, 4).flatten(1), F.adaptive_avg_pool2d(last, 3).flatten(1)]
    torch.testing.assert_close(view.features(x), torch.cat(expected, 1))
    torch.testing.assert_close(view.log_odds(x), view(x) * view.slope + view.offset)


def test_pictures_of_the_ffhq_crop_are_read_by_it_and_tight_ones_as_before(
    view: WideView, own: PerceptionNetwork
) -> None:
    both = extend(own, view)
    whole = images()
    before, now = own.for_template(1.0, 0.0).perceive(whole), both.for_template(1.0, 0.0).perceive(whole)
    wide = view.log_odds(F.interpolate(whole, (48, 48), mode="bilinear", antialias=True)).sigmoid()
    torch.testing.assert_close(torch.stack([now.bald, now.hat], 1), wide)
    for name in ("smile", "age", "yaw"):
        assert torch.equal(now[name], before[name])
    assert torch.equal(now.identity, before.identity)
    for template in ((0.55, 0.2), (0.8, 0.1)):
        before, now = own.for_template(*template).perceive(whole), both.for_template(*template).perceive(whole)
        assert torch.equal(now.probabilities, before.probabilities)
    assert torch.equal(both.perceive(whole).probabilities, own.perceive(whole).probabilities)


def test_of_a_larger_crop_it_sees_its_own_part(view: WideView, own: PerceptionNetwork) -> None:
    both = extend(own, view)
    whole = images()
    seen = both.for_template(2.0, 0.0).perceive(whole)
    expected = view.log_odds(F.interpolate(whole, (96, 96))[..., 24:72, 24:72]).sigmoid()
    torch.testing.assert_close(torch.stack([seen.bald, seen.hat], 1), expected)


def test_the_template_is_that_of_the_widest_view(view: WideView, own: PerceptionNetwork) -> None:
    assert own.template == (0.55, 0.2)
    assert extend(own, view).template == (1.0, 0.0)


def test_a_file_keeps_it_and_says_the_same(tmp_path: Path, view: WideView, own: PerceptionNetwork) -> None:
    both = extend(own, view)
    save_network(tmp_path / "perception.safetensors", both)
    loaded = load_network(tmp_path / "perception.safetensors", kind="perception")
    assert isinstance(loaded, PerceptionNetwork)
    assert loaded.config == both.config
    seen = loaded.for_template(1.0, 0.0).perceive(images())
    assert torch.equal(seen.probabilities, both.for_template(1.0, 0.0).perceive(images()).probabilities)


def test_gradients_reach_the_image(view: WideView, own: PerceptionNetwork) -> None:
    x = images().requires_grad_()
    extend(own, view).for_template(1.0, 0.0).perceive(x).bald.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(ModelError, match="wide view of 0 attributes"):
        WideConfig(())
    with pytest.raises(ModelError, match=r"behind the blocks \(4, 2\)"):
        WideConfig(("hat",), taps=(4, 2))
    with pytest.raises(ModelError, match="wide view reads 'beard', which the network does not know"):
        PerceptionConfig(attributes=("smile",), wide=WideConfig(("beard",)))
