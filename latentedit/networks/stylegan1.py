"""The first StyleGAN (Karras et al. 2019, "A Style-Based Generator Architecture for GANs"): AdaIN at every layer.

Legend: ``N`` images, ``I``/``O`` channels, ``r`` resolution of a block, ``L`` style layers, ``R`` resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.cuda_ops import bias_act, filter2d, setup_filter
from latentedit.errors import ModelError
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.protocols import NoiseMode, StyleGenerator, StyleSynthesis

FUSED_FROM = 128
"""From this resolution on, upsampling and convolution are one transposed convolution."""


@dataclass(frozen=True)
class StyleGAN1Config:
    """A StyleGAN 1 generator; ``min(channel_base / r, channel_max)`` channels at resolution ``r``."""

    resolution: int = 1024
    img_channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_features: int | None = None
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 16384
    channel_max: int = 512

    def __post_init__(self) -> None:
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise ModelError(f"resolution {self.resolution} is not a power of two of at least 8.", None)

    @property
    def c_dim(self) -> int:
        return 0

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., ``resolution``."""
        return tuple(2**i for i in range(2, self.resolution.bit_length()))

    @property
    def num_ws(self) -> int:
        """Two style layers per block."""
        return 2 * len(self.resolutions)

    def channels(self, resolution: int) -> int:
        """Feature maps at ``resolution``."""
        return min(self.channel_base // resolution, self.channel_max)


class ScaledLinear(nn.Module):
    """Dense layer with run-time scale ``gain / sqrt(fan_in) * lr_multiplier`` (the bias takes ``lr_multiplier``).

    ``activate`` adds a leaky ReLU of slope 0.2 without a gain of its own.
    """

    def __init__(
        self, fan_in: int, fan_out: int, *, gain: float = 1.0, lr_multiplier: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.weight_gain = gain * fan_in**-0.5 * lr_multiplier
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, 0.2) if self.activate else x


class StyleGAN1Mapping(MappingNetwork):
    """z -> w with leaky ReLU whose gain sits in the weights, not after the activation."""

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__(
            config.z_dim, 0, config.w_dim, config.num_ws,
            num_layers=config.mapping_layers, layer_features=config.mapping_features,
        )  # fmt: skip
        multiplier = config.mapping_lr_multiplier
        for i in range(config.mapping_layers):
            fan_out, fan_in = getattr(self, f"fc{i}").weight.shape
            dense = ScaledLinear(fan_in, fan_out, gain=2**0.5, lr_multiplier=multiplier, activate=True)
            setattr(self, f"fc{i}", dense)


def adaptive_instance_norm(x: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """AdaIN (Karras et al. 2019, eq. 1): ``x`` [N,C,r,r] normalised per map, scaled, and shifted.

    ``styles`` [N, 2, C] holds the scale minus 1, and the shift.
    """
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    normal = centred * (centred.square().mean(dim=(2, 3), keepdim=True) + eps).rsqrt()
    return normal * (styles[:, 0, :, None, None] + 1) + styles[:, 1, :, None, None]


class StyleGAN1Layer(nn.Module):
    """Convolution (none for the constant), noise, bias, leaky ReLU, AdaIN; ``up`` doubles the resolution first."""

    def __init__(self, fan_in: int, fan_out: int, resolution: int, w_dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.resolution = resolution
        self.up = up
        if fan_in > 0:
            self.weight = nn.Parameter(torch.randn(fan_out, fan_in, 3, 3))
            self.weight_gain = 2**0.5 * (fan_in * 9) ** -0.5
        self.noise_strength = nn.Parameter(torch.zeros(fan_out))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.affine = ScaledLinear(w_dim, 2 * fan_out)
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, blur: Tensor, noise: Tensor | None) -> Tensor:
        """``x`` [N,I,r,r] or half of that, ``w`` [N,w_dim], ``noise`` broadcastable to [N,1,r,r] -> [N,O,r,r]."""
        x = self._convolve(x, blur)
        if noise is not None:
            x = x + noise * self.noise_strength[:, None, None]
        x = bias_act(x, self.bias, act="lrelu", gain=1)
        return adaptive_instance_norm(x, self.affine(w).unflatten(1, (2, -1)))

    def _convolve(self, x: Tensor, blur: Tensor) -> Tensor:
        if not hasattr(self, "weight"):
            return x
        weight = self.weight * self.weight_gain
        if not self.up:
            return F.conv2d(x, weight, padding=1)
        if self.resolution < FUSED_FROM:
            x = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
        else:  # nearest upsampling and the mirrored kernel in one: an output pixel sees one of the kernel's four shifts
            kernel = F.pad(weight, (1, 1, 1, 1))
            kernel = kernel[:, :, 1:, 1:] + kernel[:, :, :-1, 1:] + kernel[:, :, 1:, :-1] + kernel[:, :, :-1, :-1]
            x = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2, padding=1)
        return filter2d(x, blur)


class StyleGAN1Block(nn.Module):
    """One resolution: two layers; at 4 px the first works on the learnt constant."""

    def __init__(self, fan_in: int, resolution: int, config: StyleGAN1Config) -> None:
        super().__init__()
        fan_out = config.channels(resolution)
        if fan_in == 0:
            self.const = nn.Parameter(torch.ones(fan_out, resolution, resolution))
        self.conv0 = StyleGAN1Layer(fan_in, fan_out, resolution, config.w_dim, up=fan_in > 0)
        self.conv1 = StyleGAN1Layer(fan_out, fan_out, resolution, config.w_dim)


class ToRGB(nn.Module):
    """1x1 convolution to the image channels, without style."""

    def __init__(self, fan_in: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, fan_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight_gain = fan_in**-0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.weight_gain, self.bias)


class StyleGAN1Synthesis(StyleSynthesis):
    """Render ``ws`` [N, L, w_dim] to images [N, img_channels, R, R] in about [-1, 1], in float32 throughout."""

    blur: Tensor

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.num_ws = config.num_ws
        self.w_dim = config.w_dim
        channels = 0
        for r in config.resolutions:
            setattr(self, f"b{r}", StyleGAN1Block(channels, r, config))
            channels = config.channels(r)
        self.torgb = ToRGB(channels, config.img_channels)
        with torch.device("cpu"):
            self.register_buffer("blur", setup_filter([1, 2, 1]), persistent=False)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Names of the noise buffers in layer order, and their pixels (r, r)."""
        return {f"b{r}.conv{i}": (r, r) for r in self.config.resolutions for i in (0, 1)}

    @property
    def layer_resolutions(self) -> tuple[int, ...]:
        """Resolution that each of the ``num_ws`` style layers works at."""
        return tuple(r for r, _ in self.noise_shapes.values())

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: NoiseMode = "const",
        noise: Mapping[str, Tensor] | None = None,
        resolution: int | None = None,
        dtype: torch.dtype | None = None,
        force_fp32: bool = False,
    ) -> Tensor:
        """Render latents; see `StyleSynthesis.forward`. No layer is reduced, so ``dtype`` changes nothing."""
        self.check(ws, noise_mode, noise, resolution)
        ws = ws.to(torch.float32)
        maps = self.noise_maps(ws, noise_mode, noise)
        x = self.get_parameter("b4.const").expand(ws.shape[0], -1, -1, -1)
        for i, name in enumerate(self.noise_shapes):
            x = self.get_submodule(name)(x, ws[:, i], self.blur, maps[i])
        return self.shrunk(self.torgb(x), resolution)


class StyleGAN1Generator(StyleGenerator):
    """StyleGAN 1: same calls, same shapes as every family, ``c_dim`` 0."""

    config: StyleGAN1Config
    synthesis: StyleGAN1Synthesis

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = StyleGAN1Mapping(config)
        self.synthesis = StyleGAN1Synthesis(config)  # pyright: ignore[reportIncompatibleVariableOverride]
