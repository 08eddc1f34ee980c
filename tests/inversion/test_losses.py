from __future__ import annotations

import dataclasses
import sys
import types

import pytest
import torch

from latentedit.errors import LatentEditError, MissingExtraError, ModelError
from latentedit.inversion import InversionConfig
from latentedit.inversion import losses as losses_module
from latentedit.inversion.losses import Objective, pixel_loss, resolve_judge
from latentedit.networks import lpips

CPU = torch.device("cpu")


def test_pixel_loss_of_an_even_difference_is_its_square_at_every_scale():
    target = torch.rand(2, 3, 16, 16)
    for levels in (1, 2, 3):
        value = pixel_loss(target + torch.tensor([0.5, -0.25])[:, None, None, None], target, levels=levels)
        torch.testing.assert_close(value, torch.tensor([0.25, 0.0625]))


def test_pixel_loss_sees_fine_differences_at_the_finest_scale_only():
    row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    difference = (1.0 - 2.0 * ((row + column) % 2)).expand(1, 3, 16, 16)
    torch.testing.assert_close(pixel_loss(difference, torch.zeros(1, 3, 16, 16), levels=4), torch.tensor([8 / 15]))


def test_pixel_loss_stops_halving_at_one_pixel():
    torch.testing.assert_close(pixel_loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), levels=9), torch.ones(1))


def test_weights_take_pixels_out_of_the_pixel_loss():
    target, image = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    weights = torch.ones(1, 1, 8, 8)
    weights[..., 4:, :] = 0
    value = pixel_loss(image * weights, target, weights, levels=2)
    torch.testing.assert_close(value, torch.tensor([0.25]))
    (gradient,) = torch.autograd.grad(value.sum(), image)
    assert gradient[..., 4:, :].abs().max() == 0
    assert gradient[..., :4, :].abs().min() > 0
    even = pixel_loss(image * 0.3, target, torch.full_like(weights, 0.3), levels=3)
    torch.testing.assert_close(even, torch.tensor([0.25]))
    assert pixel_loss(image * 0, target, torch.zeros_like(weights)) == 0


def test_objective_is_zero_at_the_target_and_per_photo(model, targets):
    objective = Objective.build(targets, config=InversionConfig(), perception=model.perception)
    losses = objective(targets)
    assert set(losses) == {"pixel", "perceptual", "identity"}
    for value in losses.values():
        torch.testing.assert_close(value, torch.zeros(8), atol=1e-5, rtol=0)
    whole = objective(targets.flip(0))
    one = Objective.build(targets[6:7], config=InversionConfig(), perception=model.perception)(targets.flip(0)[6:7])
    for name in losses:
        assert whole[name].min() >= 0
        assert whole[name].max() > 1e-3
        torch.testing.assert_close(one[name], whole[name][6:7])


def test_only_pixels_are_measured_between_judgements(model, targets):
    objective = Objective.build(targets, config=InversionConfig(), perception=model.perception)
    assert list(objective(targets, judged=False)) == ["pixel"]
    plain = InversionConfig(perceptual=None, identity_weight=0)
    assert list(Objective.build(targets, config=plain, perception=None)(targets)) == ["pixel"]


def test_no_judge_sees_what_does_not_count(model, targets):
    weights = torch.ones(8, 1, 16, 16)
    weights[..., 8:, :] = 0
    objective = Objective.build(targets, config=InversionConfig(), perception=model.perception, weights=weights)
    image = targets.clone()
    image[..., 8:, :] = 1 - image[..., 8:, :]
    for value in objective(image).values():
        torch.testing.assert_close(value, torch.zeros(8), atol=1e-5, rtol=0)
    image[..., :8, :] = 0
    assert all(bool((value > 1e-4).any()) for value in objective(image).values())


def test_callables_judge_in_place_of_the_own_network(targets):
    def darkness(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (image - target).abs().amax(dim=(1, 2, 3))

    config = InversionConfig(perceptual=darkness, identity=None)
    losses = Objective.build(targets, config=config, perception=None)(targets + 0.25)
    torch.testing.assert_close(losses["perceptual"], torch.full([8], 0.25))
    assert "identity" not in losses
    assert config.to_dict()["perceptual"].endswith("darkness")


def test_a_judge_must_return_one_value_per_photo(targets):
    config = InversionConfig(perceptual=None, identity=lambda image, target: (image - target).mean())
    with pytest.raises(LatentEditError, match=r"identity judge returned shape \[\] for 8 photos. It must return one"):
        Objective.build(targets, config=config, perception=None)(targets)


def test_own_judges_need_a_perception_network(targets):
    with pytest.raises(ModelError, match=r"no perception network for perceptual='own'.*Use perceptual=None"):
        Objective.build(targets, config=InversionConfig(), perception=None)


def test_lpips_plugs_in_by_name(monkeypatch, targets):
    class Fake(torch.nn.Module):
        def features(self, images: torch.Tensor) -> list[torch.Tensor]:
            assert images.shape[2:] == (256, 256)
            return [images]

        def compare(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
            return 2 * (a[0] - b[0]).abs().mean(dim=(1, 2, 3))

    monkeypatch.setattr(losses_module, "shared_perceptual", lambda backbone, device: Fake())
    config = InversionConfig(perceptual="lpips", identity=None)
    losses = Objective.build(targets, config=config, perception=None)(targets + 0.125)
    torch.testing.assert_close(losses["perceptual"], torch.full([8], 0.25))


def test_missing_packages_name_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(lpips.importlib.util, "find_spec", lambda name: None)
    lpips.shared_perceptual.cache_clear()
    with pytest.raises(MissingExtraError, match=r"needs the weights of the package stlpips-pytorch.*pip install"):
        resolve_judge("lpips", role="perceptual", device=CPU)
    with pytest.raises(MissingExtraError, match=r"identity='no_such_package:net'.*Install the package that has"):
        resolve_judge("no_such_package:net", role="identity", device=CPU)


def test_functions_plug_in_by_their_import_name(monkeypatch):
    module = types.ModuleType("own_faces")
    module.distance = lambda a, b: a  # type: ignore[attr-defined]
    module.constant = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_faces", module)
    assert resolve_judge("own_faces:distance", role="identity", device=CPU) is module.distance
    assert resolve_judge("own", role="identity", device=CPU) is None
    with pytest.raises(LatentEditError, match="has no attribute 'nothing'"):
        resolve_judge("own_faces:nothing", role="identity", device=CPU)
    with pytest.raises(LatentEditError, match=r"is a int\. Name a function"):
        resolve_judge("own_faces:constant", role="identity", device=CPU)
    with pytest.raises(LatentEditError, match=r"identity='lpips' is unknown. Choose 'own', 'package.module:function'"):
        resolve_judge("lpips", role="identity", device=CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps is -1; it must be at least 0"),
        ({"judge_every": 0}, "judge_every is 0; it must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"w_share": 1.5}, "w_share is 1.5; it is a share from 0 to 1"),
        ({"start": "zero"}, "start is 'zero'. Choose 'average' or 'encoder'"),
        ({"refine": "all"}, "refine is 'all'. Choose 'auto', 'weights' or 'none'"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(LatentEditError, match=message):
        InversionConfig(**change)


def test_large_images_are_compared_averaged_down():
    """A checkerboard is grey at half the size; a change of the mean is seen in full."""
    target = torch.zeros(1, 3, 32, 32)
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    checks = (1.0 - 2.0 * ((row + column) % 2)).expand(1, 3, 32, 32)
    config = InversionConfig(compare_size=16, perceptual=None, identity=None)
    small = Objective.build(target, config=config, perception=None)
    torch.testing.assert_close(small(checks)["pixel"], torch.zeros(1))
    torch.testing.assert_close(small(target + 0.5)["pixel"], torch.tensor([0.25]))
    large = Objective.build(target, config=dataclasses.replace(config, compare_size=32), perception=None)
    assert large(checks)["pixel"] > 0.3


def test_judges_see_the_size_that_is_compared():
    sizes = []

    def judge(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        sizes.append((image.shape[-1], target.shape[-1]))
        return (image - target).abs().mean(dim=(1, 2, 3))

    config = InversionConfig(compare_size=8, perceptual=judge, identity=None)
    Objective.build(torch.zeros(1, 3, 32, 32), config=config, perception=None)(torch.ones(1, 3, 32, 32))
    assert sizes == [(8, 8)]


def test_windows_show_what_averaging_hides_and_keep_to_what_counts():
    target = torch.zeros(1, 3, 32, 32)
    weights = torch.ones(1, 1, 32, 32)
    weights[..., 16:, :] = 0
    config = InversionConfig(compare_size=16, perceptual=None, identity=None, detail_crops=40, detail_weight=2.0)
    objective = Objective.build(target, config=config, perception=None, weights=weights)
    windows = objective.windows(torch.Generator().manual_seed(0))
    assert len(windows) == 40
    assert len({rows.start for rows, _ in windows}) > 8
    assert all(rows.stop - rows.start == columns.stop - columns.start == 16 for rows, columns in windows)
    assert min(rows.start for rows, _ in windows) >= 0
    assert max(columns.stop for _, columns in windows) <= 32
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    checks = (1.0 - 2.0 * ((row + column) % 2)).expand(1, 3, 32, 32)
    seen = objective(checks, windows=windows)
    torch.testing.assert_close(seen["pixel"], torch.zeros(1), atol=1e-6, rtol=0)
    assert 0.3 < float(seen["detail"]) < 4 / 7 + 1e-5
    torch.testing.assert_close(objective.total(seen), seen["pixel"] + 2 * seen["detail"])
    below = torch.zeros(1, 3, 32, 32)
    below[..., 16:, :] = 1
    assert float(objective(below, windows=windows)["detail"]) == 0
    small = Objective.build(target[..., :16, :16], config=config, perception=None)
    assert small.windows(torch.Generator().manual_seed(0)) == []
