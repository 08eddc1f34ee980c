"""Perceptual distance by the shift-tolerant LPIPS (Ghildyal & Liu 2022, arXiv 2207.13686; LPIPS: Zhang et al. 2018).

Weights come from the PyPI package ``stlpips-pytorch`` (BSD-2-Clause), whose file is read as tensors; nothing of it is
imported, and neither is torchvision. Legend: ``N`` images, ``R`` their side; images are [N,3,R,R] in [-1,1].
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.errors import MissingExtraError, ModelError

Backbone = Literal["alex", "vgg"]


def weights_file(backbone: Backbone = "alex") -> Path:
    """The weights in the installed package, found without importing it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = importlib.util.find_spec("stlpips_pytorch")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        path = Path(folder) / "weights" / "vST0.0" / f"{backbone}_shift_tolerant.pth"
        if path.is_file():
            return path
    raise MissingExtraError(
        "perceptual='lpips' needs the weights of the package stlpips-pytorch, which is not installed.",
        "Install it with `pip install --no-deps stlpips-pytorch`, or choose perceptual='own'.",
    )


class PerceptualDistance(nn.Module):
    """LPIPS on AlexNet or VGG-16 whose poolings are blurred and padded, so that shifts of a pixel count for little.

    Equation 1 of LPIPS: ``sum_l mean_xy w_l . (f_l(a) - f_l(b))^2`` of features normalised along their channels.
    """

    def __init__(self, state: dict[str, Tensor], backbone: Backbone = "alex") -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.register_buffer("shift", state["scaling_layer.shift"], persistent=False)
        self.register_buffer("scale", state["scaling_layer.scale"], persistent=False)
        names = [name for name in state if name.startswith("net.") and name.endswith(".weight")]
        self.convs = nn.ParameterList(nn.Parameter(state[name], requires_grad=False) for name in names)
        self.biases = nn.ParameterList(
            nn.Parameter(state[name.replace("weight", "bias")], requires_grad=False) for name in names
        )
        self.layer_weights = nn.ParameterList(
            nn.Parameter(state[f"lin{i}.model.1.weight"].flatten(), requires_grad=False) for i in range(5)
        )

    shift: Tensor
    scale: Tensor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of the images ``a`` and ``b`` [N,3,R,R]."""
        return self.compare(self.features(a), self.features(b))

    def features(self, images: Tensor) -> list[Tensor]:
        """Normalised features of the five layers; keep those of a photo that is compared again and again."""
        x = ((images - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        layers = self._alex(x) if self.backbone == "alex" else self._vgg(x)
        return [F.normalize(layer.float(), dim=1, eps=1e-10) for layer in layers]

    def compare(self, a: list[Tensor], b: list[Tensor], weights: Tensor | None = None) -> Tensor:
        """Distances [N] of two `features`; ``weights`` [N,1,R,R] in [0,1] says where the picture counts how much."""
        total = a[0].new_zeros(len(a[0]))
        for x, y, importance in zip(a, b, self.layer_weights, strict=True):
            differences = torch.einsum("nchw,c->nhw", (x - y).square(), importance)
            if weights is None:
                total = total + differences.mean(dim=(1, 2))
                continue
            counts = F.interpolate(weights, size=differences.shape[1:], mode="area")[:, 0]
            total = total + (differences * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp_min(1e-6)
        return total

    def _conv(self, x: Tensor, index: int, padding: int) -> Tensor:
        return F.conv2d(x, self.convs[index], self.biases[index], padding=padding)

    def _alex(self, x: Tensor) -> list[Tensor]:
        x = F.relu(_blur_down(self._conv(x, 0, 2)))
        layers = [x]
        for index, padding, pooled in ((1, 2, True), (2, 1, True), (3, 1, False), (4, 1, False)):
            if pooled:
                x = _blur_down(F.max_pool2d(x, 3, 1))
            x = F.relu(self._conv(x, index, padding))
            layers.append(x)
        return layers

    def _vgg(self, x: Tensor) -> list[Tensor]:
        layers: list[Tensor] = []
        index = 0
        for count in (2, 2, 3, 3, 3):
            if layers:
                x = _blur_down(F.max_pool2d(x, 2, 1))
            for _ in range(count):
                x = F.relu(self._conv(x, index, 1))
                index += 1
            layers.append(x)
        return layers


def _blur_down(x: Tensor) -> Tensor:
    """Every second pixel of ``x`` blurred by [1,2,1] both ways, reflected by two pixels at the borders."""
    taps = torch.tensor([1.0, 2.0, 1.0], device=x.device, dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


def load_perceptual(backbone: Backbone = "alex", path: Path | None = None) -> PerceptualDistance:
    """The distance with the weights in ``path``, by default the installed package's.

    Raises:
        MissingExtraError: no path, and the package is not installed.
        ModelError: the file holds something else.
    """
    path = weights_file(backbone) if path is None else path
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        return PerceptualDistance(state, backbone).eval().requires_grad_(False)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{str(path)!r} holds no LPIPS weights: {error}.", "Install stlpips-pytorch again.") from error


@lru_cache(maxsize=4)
def shared_perceptual(backbone: Backbone = "alex", device: torch.device | None = None) -> PerceptualDistance:
    """As `load_perceptual`, one for all callers; do not change it."""
    return load_perceptual(backbone).to(device or torch.device("cpu"))
