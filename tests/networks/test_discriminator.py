"""The discriminators of patches and of features: shapes, what a patch sees, and what learns."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from latentedit.networks import FeatureDiscriminator, PatchDiscriminator, PerceptionConfig, PerceptionNetwork


def test_a_patch_logit_sees_eighteen_pixels_and_the_blur_around_them() -> None:
    judge = PatchDiscriminator(channels=4)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    logits = judge(images)
    assert logits.shape == (1, 1, 16, 16)
    (gradient,) = torch.autograd.grad(logits[0, 0, 8, 8], images)
    rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    for seen in (rows, columns):
        assert (int(seen.min()), int(seen.max())) == (8 * 4 - 8, 8 * 4 + 11), "18 px and one more for the mean"


def test_a_patch_judge_learns_to_tell_blur_in_a_few_steps() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(channels=16)
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-3)
    for _ in range(100):
        sharp = F.avg_pool2d(torch.randn(8, 3, 34, 34), 2, 1) * 0.3
        blurred = F.avg_pool2d(sharp, 5, 1, 2)
        loss = F.softplus(judge(blurred)).mean() + F.softplus(-judge(sharp)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3, "1.39 is a coin's"


def test_a_feature_judge_learns_its_heads_alone() -> None:
    network = PerceptionNetwork(PerceptionConfig(size=32, widths=(4, 8, 8), blocks=(1, 1, 1), hidden=8)).eval()
    network.requires_grad_(False)
    judge = FeatureDiscriminator(network, width=6).requires_grad_(True)
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    logits = judge(images)
    assert logits.shape == (2, 16**2 + 8**2 + 4**2)
    logits.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    learning = {name.split(".")[0] for name, p in judge.named_parameters() if p.grad is not None}
    assert learning == {"heads"}
    assert not any("_network" in name for name in judge.state_dict())
    for mix in judge.mixes:
        rows = mix.weight.flatten(1)
        small = rows @ rows.t() if rows.shape[0] <= rows.shape[1] else rows.t() @ rows
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-5, rtol=0)
