"""EfficientNet-Lite0 by its paper's table, ImageNet weights into it, and the encoder on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from latentedit.errors import ModelError
from latentedit.models.network_file import load_network, save_network
from latentedit.networks.efficientnet import EfficientNetLite0, ScaledConv
from latentedit.networks.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from latentedit.training.encoding.imagenet import load_imagenet

SMALL = TrunkEncoderConfig(resolution=32, num_ws=4, w_dim=8, taps=(2, 4), widths=(8, 8), cells=(4, 2), hidden=8)


def imagenet_state(trunk: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """A file as the package's: convolutions and batch norms by their names, random numbers."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(convolution: str, norm: str, layer: ScaledConv) -> None:
        channels = len(layer.gain)
        state[f"{convolution}.weight"] = torch.randn_like(layer.weight) * 0.1
        for part in ("weight", "bias", "running_mean"):
            state[f"{norm}.{part}"] = torch.randn(channels) * 0.1 + (part == "weight")
        state[f"{norm}.running_var"] = torch.rand(channels) + 0.5

    add("_conv_stem", "_bn0", trunk.stem)
    for i, block in enumerate(trunk.blocks):
        names = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
        for own, convolution, norm in (*names, ("project", "_project_conv", "_bn2")):
            if getattr(block, own) is not None:
                add(f"_blocks.{i}.{convolution}", f"_blocks.{i}.{norm}", getattr(block, own))
    return state


def test_shapes_are_those_of_the_paper() -> None:
    trunk = EfficientNetLite0().eval()
    shapes = [tuple(x.shape) for x in trunk(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 40, 8, 8), (1, 112, 4, 4), (1, 320, 2, 2)]
    assert sum(p.numel() for p in trunk.parameters()) == 2_958_848


def test_weights_with_batch_norm_give_what_batch_norm_gives(tmp_path: Path) -> None:
    trunk = EfficientNetLite0((0,)).eval()
    state = imagenet_state(trunk)
    torch.save(state, tmp_path / "weights.pth")
    load_imagenet(trunk, tmp_path / "weights.pth")
    images = torch.rand(2, 3, 32, 32) * 2 - 1

    def layer(x: torch.Tensor, convolution: str, norm: str, **how: int) -> torch.Tensor:
        x = F.conv2d(x, state[f"{convolution}.weight"], **how)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, eps=1e-3)

    x = F.relu6(
        layer(F.pad(images, [0, 1, 0, 1]), "_conv_stem", "_bn0", stride=2)
    )  # "SAME": the odd pixel to the right
    x = F.relu6(layer(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1", padding=1, groups=32))
    x = layer(x, "_blocks.0._project_conv", "_blocks.0._bn2")
    assert torch.allclose(trunk(images)[0], x, atol=1e-5)


def test_another_file_is_refused(tmp_path: Path) -> None:
    trunk = EfficientNetLite0((0,))
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match=r"has no tensor '_conv_stem.weight'"):
        load_imagenet(trunk, tmp_path / "empty.pth")
    state = imagenet_state(trunk)
    state["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"_conv_stem.weight .* has shape \[32, 3, 5, 5\] instead of \[32, 3, 3, 3\]"):
        load_imagenet(trunk, tmp_path / "other.pth")


def test_an_untrained_head_gives_the_average() -> None:
    encoder = TrunkEncoder(SMALL).eval()
    torch.nn.init.zeros_(encoder.base.weight)
    torch.nn.init.zeros_(encoder.base.bias)
    encoder.w_avg.copy_(torch.arange(8.0))
    with torch.no_grad():
        ws = encoder(torch.rand(2, 3, 32, 32))
    assert ws.shape == (2, 4, 8)
    assert torch.equal(ws, torch.arange(8.0).expand(2, 4, 8))


def test_latents_are_coordinates_along_the_basis() -> None:
    torch.manual_seed(0)
    encoder = TrunkEncoder(SMALL).eval()
    encoder.basis.copy_(torch.randn(8, 8))
    encoder.offset.bias.data.normal_()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        u, offsets = encoder.coordinates(images)
        expected = encoder.w_avg + (u[:, None] + offsets) @ encoder.basis
        assert torch.allclose(encoder(images), expected, atol=1e-5)


def test_goes_through_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = TrunkEncoder(SMALL).eval()
    save_network(tmp_path / "encoder.safetensors", encoder)
    loaded = load_network(tmp_path / "encoder.safetensors", kind="encoder")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), encoder(images))


@pytest.mark.parametrize(
    "wrong", [{"taps": (4, 16), "widths": (8, 8), "cells": (4, 4)}, {"widths": (8,)}, {"resolution": 100}]
)
def test_configurations_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ModelError):
        TrunkEncoderConfig(**wrong)
