"""The synthesis network g: W+ -> image of StyleGAN2 (Karras et al. 2020, section 2 and figure 7).

Legend: ``N`` images, ``L`` style layers, ``r`` the resolution of a block, ``R`` that of the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from latentedit.cuda_ops import bias_act, setup_filter, upsample2d
from latentedit.cuda_ops.activation_reference import default_gain
from latentedit.cuda_ops.fused import Chain, chained_conv, products_pay
from latentedit.cuda_ops.image_branch import to_image, upsample_add
from latentedit.networks.config import GeneratorConfig
from latentedit.networks.layers import Conv2dLayer, FullyConnectedLayer, modulated_conv2d
from latentedit.networks.protocols import NoiseMode, StyleSynthesis


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, activation; ``up=2`` doubles the resolution."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, config: GeneratorConfig, up: int = 1
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.up = up
        self.activation = config.activation
        self.conv_clamp = config.conv_clamp
        self.affine = FullyConnectedLayer(config.w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(config.resample_taps))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """``x`` [N,I,r/up,r/up], ``w`` [N,w_dim], ``noise`` broadcastable to [N,1,r,r] before its learnt strength."""
        if self.is_frozen():
            return self.chained(Chain(x), self.affine(w), noise, gain=gain).x
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=None if noise is None else noise * self.noise_strength,
            up=self.up,
            padding=1,
            resample_filter=self.resample_filter,
            flip_weight=self.up == 1,
        )
        gain, clamp = self._limits(gain)
        return bias_act(x, self.bias.to(x.dtype), act=self.activation, gain=gain, clamp=clamp)

    def chained(
        self,
        chain: Chain,
        styles: Tensor,
        noise: Tensor | None,
        *,
        following: Tensor | None = None,
        keep: bool = True,
        gain: float = 1.0,
    ) -> Chain:
        """`forward` with frozen weights from ``styles`` [N,I]; ``following`` and ``keep`` as in `chained_conv`."""
        gain, clamp = self._limits(gain)
        noise = None if noise is None else self._scaled(noise)
        constants = (self.bias, self.resample_filter, self.up, self.activation, None, gain, clamp)
        return chained_conv(chain, self.weight, styles, noise, *constants, following=following, keep=keep)

    def _limits(self, gain: float) -> tuple[float, float | None]:
        """Gain and clamp of the activation when the layer's result is scaled by ``gain``."""
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return gain * default_gain(self.activation), clamp

    def _scaled(self, noise: Tensor) -> Tensor:
        """Noise times its strength, [N or 1,1,r,r]."""
        noise = noise * self.noise_strength
        size = (self.resolution, self.resolution)
        return noise.expand(*noise.shape[:-2], *size).reshape(-1, 1, *size)

    def is_frozen(self) -> bool:
        """Whether no gradient is wanted for the parameters: the fused layer then spares it and prepares weights."""
        learning = self.weight.requires_grad or self.bias.requires_grad
        return not self.training and not (learning and torch.is_grad_enabled())


class ToRGBLayer(nn.Module):
    """Modulated 1x1 convolution to the image channels, without demodulation."""

    def __init__(self, in_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.conv_clamp = config.conv_clamp
        self.affine = FullyConnectedLayer(config.w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(config.img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.img_channels))
        self.weight_gain = in_channels**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` [N,I,r,r] -> [N,img_channels,r,r]."""
        styles = self.affine(w) * self.weight_gain
        weight = (self.weight.flatten(1) * styles[:, None, :]).to(x.dtype)  # [N,img_channels,I]: smaller than x
        return bias_act(to_image(x, weight), self.bias.to(x.dtype), clamp=self.conv_clamp)


class SynthesisBlock(nn.Module):
    """One resolution: two styled layers (one at 4 px), and the image branch of the architecture."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, resolution: int, config: GeneratorConfig) -> None:
        super().__init__()
        out_channels = config.channels(resolution)
        self.resolution = resolution
        self.architecture = config.architecture
        self.reduced = config.is_reduced(resolution)
        self.register_buffer("resample_filter", setup_filter(config.resample_taps))
        self.num_conv = 1 if in_channels == 0 else 2
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, resolution, config, up=2)
        self.conv1 = SynthesisLayer(out_channels, out_channels, resolution, config)
        self.has_torgb = config.architecture == "skip" or resolution == config.resolution
        if self.has_torgb:
            self.torgb = ToRGBLayer(out_channels, config)
        if in_channels != 0 and config.architecture == "resnet":
            self.skip = Conv2dLayer(in_channels, out_channels, 1, bias=False, up=2, resample_taps=config.resample_taps)

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Tensor,
        noise: list[Tensor | None],
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor | None]:
        """Advance activations ``x`` and the image by one resolution, computing in ``dtype``.

        ``ws`` [N,>=num_conv,w_dim] holds the styles in order.
        """
        styles = iter(ws.unbind(dim=1))
        if x is None:
            x = self.const.to(dtype).unsqueeze(0).expand(ws.shape[0], -1, -1, -1)
            x = self.conv1(x.contiguous(memory_format=torch.channels_last), next(styles), noise[0])
        elif self.architecture == "resnet":
            x = x.to(dtype)
            shortcut = self.skip(x, gain=0.5**0.5)
            x = self.conv0(x, next(styles), noise[0])
            x = shortcut + self.conv1(x, next(styles), noise[1], gain=0.5**0.5)
        else:
            x = self.conv0(x.to(dtype), next(styles), noise[0])
            x = self.conv1(x, next(styles), noise[1])
        assert x is not None
        return x, self._image(x, image, next(styles, None))

    def chained(
        self,
        chain: Chain | None,
        image: Tensor | None,
        styles: list[Tensor],
        w: Tensor,
        noise: list[Tensor | None],
        following: Tensor | None,
        dtype: torch.dtype,
    ) -> tuple[Chain, Tensor | None]:
        """`forward` with frozen weights; each layer leaves behind the modulation of the next.

        ``styles`` [N,I] are those of the layers, ``w`` [N,w_dim] drives the image branch, ``following`` are the styles
        of the next block's first layer. Not for the resnet architecture, which adds before it modulates.
        """
        keep = torch.is_grad_enabled()
        if chain is None:
            x = self.const.to(dtype).unsqueeze(0).expand(len(w), -1, -1, -1)
            chain = Chain(x.contiguous(memory_format=torch.channels_last))
        else:
            chain = Chain(chain.x.to(dtype), chain.product)
            chain = self.conv0.chained(chain, styles[0], noise[0], following=styles[1], keep=keep)
        keep = keep or self.has_torgb
        chain = self.conv1.chained(chain, styles[-1], noise[-1], following=following, keep=keep)
        return chain, self._image(chain.x, image, w)

    def _image(self, x: Tensor, image: Tensor | None, w: Tensor | None) -> Tensor | None:
        """The image of this resolution from that of the last one and, where they enter it, activations ``x``."""
        if self.has_torgb:
            assert w is not None
            y = self.torgb(x, w).to(torch.float32)
            return y if image is None else upsample_add(image, self.resample_filter, y)
        return None if image is None else upsample2d(image, self.resample_filter)


class SynthesisNetwork(StyleSynthesis):
    """Render ``ws`` [N, num_ws, w_dim] to images [N, img_channels, R, R] in about [-1, 1].

    In evaluation mode prepared forms of the weights are kept between calls. They follow changes of the weights, except
    for some made through ``.data``: call `latentedit.cuda_ops.forget_prepared` after those.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.num_ws = config.num_ws
        self.w_dim = config.w_dim
        channels = 0
        for r in config.resolutions:
            setattr(self, f"b{r}", SynthesisBlock(channels, r, config))
            channels = config.channels(r)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Names of the noise buffers (``"b8.conv0"``) in layer order, and their pixels (r, r)."""
        names = [f"b{r}.conv{i}" for r in self.config.resolutions for i in (0, 1) if r > 4 or i == 1]
        sides = {name: self._layer(name).resolution for name in names}
        return {name: (side, side) for name, side in sides.items()}

    @property
    def layer_resolutions(self) -> tuple[int, ...]:
        """Resolution of the convolution that each of the ``num_ws`` style layers drives; the last drives ToRGB."""
        convolutions = [r for r, _ in self.noise_shapes.values()]
        return (*convolutions, self.resolution)

    def side_weights(self) -> Iterator[tuple[int, Tensor]]:
        """ToRGB shares the row of the layer after it."""
        row = 0
        for block in self._blocks():
            row += block.num_conv
            if block.has_torgb:
                yield row, block.torgb.affine.weight.detach()

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
        """Render latents; see `StyleSynthesis.forward`."""
        self.check(ws, noise_mode, noise, resolution)
        maps = self.noise_maps(ws, noise_mode, noise)
        reduced = self._reduced_dtype(ws.device, torch.float32 if force_fp32 else dtype)
        if products_pay(ws) and self._is_chain():
            return self.shrunk(self._chained(ws.to(torch.float32), maps, reduced), resolution)
        x = image = None
        first = 0
        for block in self._blocks():
            taken = block.num_conv + block.has_torgb
            styles = ws[:, first : first + taken].to(torch.float32)
            own = maps[first : first + block.num_conv]
            x, image = block(x, image, styles, own, reduced if block.reduced else torch.float32)
            first += block.num_conv
        assert image is not None
        return self.shrunk(image, resolution)

    def _reduced_dtype(self, device: torch.device, asked: torch.dtype | None) -> torch.dtype:
        """What reduced layers compute in. Half precision on a CPU is emulated, ten times slower and less exact."""
        if asked is not None:
            return asked
        return torch.float32 if device.type == "cpu" else getattr(torch, self.config.reduced_dtype)

    def _is_chain(self) -> bool:
        """Whether layer follows layer, with frozen weights."""
        frozen = all(self._layer(name).is_frozen() for name in self.noise_shapes)
        return frozen and self.config.architecture != "resnet"

    def _chained(self, ws: Tensor, maps: list[Tensor | None], reduced: torch.dtype) -> Tensor:
        layers = [self._layer(name) for name in self.noise_shapes]
        styles = [layer.affine(w) for layer, w in zip(layers, ws.unbind(dim=1), strict=False)]
        blocks = self._blocks()
        dtypes = [reduced if block.reduced else torch.float32 for block in blocks]
        chain: Chain | None = None
        image: Tensor | None = None
        first = 0
        for block, dtype, after in zip(blocks, dtypes, [*dtypes[1:], None], strict=True):
            last = first + block.num_conv
            own = styles[first:last], ws[:, last], maps[first:last]
            following = styles[last] if after == dtype else None
            chain, image = block.chained(chain, image, *own, following, dtype)
            first = last
        assert image is not None
        return image

    def _blocks(self) -> list[SynthesisBlock]:
        return [getattr(self, f"b{r}") for r in self.config.resolutions]

    def _layer(self, name: str) -> SynthesisLayer:
        return self.get_submodule(name)  # type: ignore[return-value]
