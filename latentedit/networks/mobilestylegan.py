"""MobileStyleGAN (Belousov 2021, arXiv 2104.04767): a light student of StyleGAN2 that predicts wavelet coefficients.

It has the teacher's mapping network, and so its W; style rows follow the teacher's numbering, and the last two rows of
a latent, which drive layers that the student lacks, have no effect. A block is one function of
`latentedit.cuda_ops.wavelet`, which fuses it: wavelet step, modulation, depthwise and pointwise convolutions, noise.

Legend: ``N`` images, ``L`` style rows, ``r`` resolution of a block, ``R`` that of the image (twice the last block's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.cuda_ops.wavelet import ImageLayer, Separable, wavelet_block, wavelet_image
from latentedit.errors import LatentError, ModelError
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.protocols import NoiseMode, StyleGenerator, StyleSynthesis


@dataclass(frozen=True)
class MobileStyleGANConfig:
    """A MobileStyleGAN generator; ``channels`` are the feature maps at 4 px, 8 px, ... up to half the image's side."""

    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    img_channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_features: int | None = None
    mapping_lr_multiplier: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not 2 <= len(self.channels) <= 12 or any(count < 4 or count % 4 for count in self.channels):
            raise ModelError(
                f"channels {self.channels} cannot be those of a MobileStyleGAN.",
                "Give 2 to 12 multiples of 4, one for each resolution from 4 px on.",
            )

    @property
    def c_dim(self) -> int:
        return 0

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., ``resolution / 2``."""
        return tuple(4 << i for i in range(len(self.channels)))

    @property
    def resolution(self) -> int:
        """Pixels along a side of the image."""
        return 4 << len(self.channels)

    @property
    def num_ws(self) -> int:
        """Rows of a latent: as many as those of the teacher, a StyleGAN2 of the same resolution."""
        return 2 * len(self.channels) + 2


class StyledLayer(nn.Module):
    """What every styled layer has: its affine map from w to styles, bias, noise; ``channels`` in and out.

    ``weight`` holds the demodulation, which does not depend on the style in this network.
    """

    noise_const: Tensor

    def __init__(self, channels: tuple[int, int], resolution: int, w_dim: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.affine = nn.Linear(w_dim, channels[0])
        self.style_gain = (9 * channels[0]) ** -0.5
        self.bias = nn.Parameter(torch.zeros(channels[1]))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def styles(self, w: Tensor) -> Tensor:
        """Scales [N,C] of the channels for ``w`` [N,w_dim]."""
        return self.affine(w) * self.style_gain

    def scaled(self, noise: Tensor | None) -> Tensor | None:
        """``noise`` times its learnt strength."""
        return None if noise is None else noise * self.noise_strength


class DenseLayer(StyledLayer):
    """The layer at 4 px: a modulated dense 3x3 convolution."""

    def __init__(self, channels: tuple[int, int], resolution: int, w_dim: int) -> None:
        super().__init__(channels, resolution, w_dim)
        self.weight = nn.Parameter(torch.randn(channels[1], channels[0], 3, 3))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """``x`` [N,C,r,r], ``w`` [N,w_dim], ``noise`` broadcastable to [N,1,r,r] -> [N,O,r,r]."""
        x = F.conv2d(x * self.styles(w)[:, :, None, None], self.weight, self.bias, padding=1)
        noise = self.scaled(noise)
        return F.leaky_relu(x if noise is None else x + noise, 0.2)


class SeparableLayer(StyledLayer):
    """A modulated depthwise 3x3 and a pointwise convolution."""

    def __init__(self, channels: tuple[int, int], resolution: int, w_dim: int) -> None:
        super().__init__(channels, resolution, w_dim)
        self.depthwise = nn.Parameter(torch.randn(channels[0], 1, 3, 3))
        self.weight = nn.Parameter(torch.randn(channels[1], channels[0]))

    def styled(self, w: Tensor, noise: Tensor | None) -> Separable:
        """The layer for ``w`` [N,w_dim], with ``noise`` broadcastable to [N,1,r,r]."""
        return Separable(self.styles(w), self.depthwise, self.weight, self.bias, self.scaled(noise))


class FirstBlock(nn.Module):
    """The learnt constant at 4 px and the dense layer on it."""

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(channels, 4, 4))
        self.conv1 = DenseLayer((channels, channels), 4, w_dim)

    def forward(self, w: Tensor, noise: Tensor | None) -> Tensor:
        """[N,C,4,4], channels-last."""
        x = self.const.unsqueeze(0).expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self.conv1(x, w, noise)


class WaveletBlock(nn.Module):
    """One resolution: wavelet step, two separable layers. ``up`` scales the coefficients that the step takes."""

    def __init__(self, channels: tuple[int, int], resolution: int, w_dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(w_dim, channels[0])
        self.conv0 = SeparableLayer((channels[0] // 4, channels[1]), resolution, w_dim)
        self.conv1 = SeparableLayer((channels[1], channels[1]), resolution, w_dim)

    def forward(self, x: Tensor, ws: Tensor, noise: list[Tensor | None], image: ImageLayer | None = None) -> Tensor:
        """``x`` [N,C,r/2,r/2] and the two rows ``ws`` [N,2,w_dim] -> [N,O,r,r], or the picture that ``image`` makes."""
        layers = (self.conv0.styled(ws[:, 0], noise[0]), self.conv1.styled(ws[:, 1], noise[1]))
        return wavelet_block(x, self.up(ws[:, 0]), *layers, image)


class WaveletImage(nn.Module):
    """Features to the wavelet coefficients of the picture at twice their resolution: a modulated 1x1 convolution."""

    def __init__(self, channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, channels)
        self.weight = nn.Parameter(torch.randn(4 * img_channels, channels))
        self.bias = nn.Parameter(torch.zeros(4 * img_channels))
        self.style_gain = channels**-0.5

    def styled(self, w: Tensor) -> ImageLayer:
        """The layer for ``w`` [N,w_dim]."""
        return ImageLayer(self.weight, self.bias, self.affine(w) * self.style_gain)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` [N,C,r,r], ``w`` [N,w_dim] -> [N,img_channels,2r,2r], contiguous as images are."""
        return wavelet_image(x, self.styled(w))


class SmallHeads(Protocol):
    """Pictures smaller than the whole from inner features (`MobileSynthesis.heads`).

    ``levels`` gives for every resolution of a picture that of the features that it is made from; a call takes those
    features [N,C,r,r], the latents [N,L,w_dim], and the resolution, and returns [N,img_channels,resolution,resolution].
    """

    @property
    def levels(self) -> Mapping[int, int]: ...

    def __call__(self, features: Tensor, ws: Tensor, resolution: int) -> Tensor: ...


class MobileSynthesis(StyleSynthesis):
    """Render ``ws`` [N, L, w_dim] to images [N, img_channels, R, R] in about [-1, 1], in float32 throughout.

    ``heads`` are no part of the weights: they neither enter the state dict nor the fingerprint, but move along.
    """

    heads: SmallHeads | None

    def __init__(self, config: MobileStyleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.num_ws = config.num_ws
        self.w_dim = config.w_dim
        self.heads = None
        self.b4 = FirstBlock(config.channels[0], config.w_dim)
        widths = zip(config.channels, config.channels[1:], strict=False)
        for r, channels in zip(config.resolutions[1:], widths, strict=True):
            setattr(self, f"b{r}", WaveletBlock(channels, r, config.w_dim))
        self.torgb = WaveletImage(config.channels[-1], config.img_channels, config.w_dim)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "heads":
            object.__setattr__(self, name, value)  # not registered as a part
        else:
            super().__setattr__(name, value)  # type: ignore[arg-type]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MobileSynthesis:
        if isinstance(self.heads, nn.Module):
            self.heads._apply(fn)
        return super()._apply(fn, recurse)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Names of the noise buffers (``"b8.conv0"``) in layer order, and their pixels (r, r)."""
        return {f"b{r}.conv{i}": (r, r) for r in self.config.resolutions for i in (0, 1) if r > 4 or i == 1}

    @property
    def layer_resolutions(self) -> tuple[int, ...]:
        """Resolution that each of the ``num_ws`` rows works at, as in the teacher; the last two have no effect."""
        return (*(r for r, _ in self.noise_shapes.values()), *[self.resolution] * 3)

    def style_weights(self) -> Iterator[tuple[int, Tensor]]:
        """As `StyleSynthesis.style_weights`; the scales of a wavelet step come before those of the layer after it."""
        for row, weight in super().style_weights():
            if row % 2:
                yield row, self.get_parameter(f"b{self.layer_resolutions[row]}.up.weight").detach()
            yield row, weight

    def refinable_weights(self) -> dict[str, int]:
        """Names of the dense and pointwise weights [O, ...], and pixels a side of what they read."""
        return {f"{name}.weight": side for name, (side, _) in self.noise_shapes.items()}

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
        if resolution is not None and self.heads is not None and resolution in self.heads.levels:
            features = self.features(ws, self.heads.levels[resolution], noise_mode=noise_mode, noise=noise)
            return self.heads(features, ws, resolution)
        ws, maps = ws.to(torch.float32), self.noise_maps(ws, noise_mode, noise)
        *_, (_, x) = self._levels(ws, maps, self.config.resolutions[:-1])
        row = 2 * len(self.config.channels) - 1
        last: WaveletBlock = getattr(self, f"b{self.config.resolutions[-1]}")
        image = last(x, ws[:, row - 2 : row], maps[row - 2 :], self.torgb.styled(ws[:, row]))
        return self.shrunk(image, resolution)

    def side_weights(self) -> Iterator[tuple[int, Tensor]]:
        """The wavelet step of each block shares the row of its first layer, the picture that of the last."""
        for i, r in enumerate(self.config.resolutions[1:]):
            yield 2 * i + 1, self.get_parameter(f"b{r}.up.weight").detach()
        yield 2 * len(self.config.channels) - 1, self.torgb.affine.weight.detach()

    @property
    def preview_resolutions(self) -> tuple[int, ...]:
        """Those of the heads."""
        return () if self.heads is None else tuple(sorted(self.heads.levels))

    def features(
        self,
        ws: Tensor,
        upto: int,
        *,
        noise_mode: NoiseMode = "const",
        noise: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Activations [N,C,upto,upto] of the block at ``upto`` px, channels-last; later blocks are not computed.

        Raises:
            LatentError: no block of that resolution, or what `forward` raises.
        """
        for r, x in self.levels(ws, noise_mode=noise_mode, noise=noise):
            if r == upto:
                return x
        raise LatentError(f"There are no features at {upto} px.", f"Choose one of {self.config.resolutions}.")

    def levels(
        self, ws: Tensor, *, noise_mode: NoiseMode = "const", noise: Mapping[str, Tensor] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Resolution and activations [N,C,r,r] of one block after the other, computed as they are asked for."""
        self.check(ws, noise_mode, noise)
        maps = self.noise_maps(ws, noise_mode, noise)
        yield from self._levels(ws.to(torch.float32), maps, self.config.resolutions)

    def _levels(
        self, ws: Tensor, maps: list[Tensor | None], resolutions: tuple[int, ...]
    ) -> Iterator[tuple[int, Tensor]]:
        x = self.b4(ws[:, 0], maps[0])
        yield 4, x
        for i, r in enumerate(resolutions[1:]):
            rows = slice(2 * i + 1, 2 * i + 3)
            x = getattr(self, f"b{r}")(x, ws[:, rows], maps[rows])
            yield r, x


class MobileStyleGANGenerator(StyleGenerator):
    """MobileStyleGAN: same calls, same shapes as every family, ``c_dim`` 0."""

    config: MobileStyleGANConfig
    synthesis: MobileSynthesis

    def __init__(self, config: MobileStyleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            config.z_dim,
            0,
            config.w_dim,
            config.num_ws,
            num_layers=config.mapping_layers,
            layer_features=config.mapping_features,
            lr_multiplier=config.mapping_lr_multiplier,
        )
        self.synthesis = MobileSynthesis(config)  # pyright: ignore[reportIncompatibleVariableOverride]
