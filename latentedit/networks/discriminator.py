"""The discriminator of StyleGAN2 (Karras et al. 2020, figure 7) with a projection head for labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from latentedit.cuda_ops import downsample2d, setup_filter
from latentedit.networks.config import DiscriminatorConfig
from latentedit.networks.layers import Conv2dLayer, FullyConnectedLayer
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.perception import PerceptionNetwork


class DiscriminatorBlock(nn.Module):
    """Halve the resolution: 3x3 convolution, strided 3x3 convolution, and the image branch of the architecture."""

    resample_filter: Tensor

    def __init__(self, resolution: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        first = resolution == config.resolution
        channels, out_channels = config.channels(resolution), config.channels(resolution // 2)
        options = {
            "activation": config.activation,
            "resample_taps": config.resample_taps,
            "conv_clamp": config.conv_clamp,
        }
        self.architecture = config.architecture
        self.dtype = getattr(torch, config.reduced_dtype) if config.is_reduced(resolution) else torch.float32
        self.register_buffer("resample_filter", setup_filter(config.resample_taps))
        if first or config.architecture == "skip":
            self.fromrgb = Conv2dLayer(config.img_channels, channels, 1, **options)
        self.conv0 = Conv2dLayer(channels, channels, 3, **options)
        self.conv1 = Conv2dLayer(channels, out_channels, 3, down=2, **options)
        if config.architecture == "resnet":
            self.skip = Conv2dLayer(channels, out_channels, 1, bias=False, down=2, resample_taps=config.resample_taps)

    def forward(self, x: Tensor | None, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Advance activations and, where the architecture reads the image at each resolution, the image."""
        x = None if x is None else x.to(self.dtype)
        if x is None or self.architecture == "skip":
            assert image is not None
            y = self.fromrgb(image.to(self.dtype))
            x = y if x is None else x + y
            image = downsample2d(image, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture == "resnet":
            shortcut = self.skip(x, gain=0.5**0.5)
            return shortcut + self.conv1(self.conv0(x), gain=0.5**0.5), image
        return self.conv1(self.conv0(x)), image


class MinibatchStdLayer(nn.Module):
    """Append the standard deviation over groups of images as feature maps (Karras et al. 2018, section 3)."""

    def __init__(self, group_size: int | None, num_channels: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C+num_channels,H,W]; N must be a multiple of the group size, or smaller than it."""
        n, c, h, w = x.shape
        group = n if self.group_size is None else min(self.group_size, n)
        y = x.reshape(group, -1, self.num_channels, c // self.num_channels, h, w)
        y = (y - y.mean(dim=0)).square().mean(dim=0)
        y = (y + 1e-8).sqrt().mean(dim=[2, 3, 4])
        y = y.reshape(-1, self.num_channels, 1, 1).repeat(group, 1, h, w)
        return torch.cat([x, y], dim=1)


class DiscriminatorEpilogue(nn.Module):
    """From 4 px to the logit, or to the vector that is projected onto the label."""

    def __init__(self, config: DiscriminatorConfig, cmap_dim: int) -> None:
        super().__init__()
        channels = config.channels(4)
        if config.architecture == "skip":
            self.fromrgb = Conv2dLayer(config.img_channels, channels, 1, activation=config.activation)
        self.mbstd = MinibatchStdLayer(config.mbstd_group_size, config.mbstd_channels)
        self.conv = Conv2dLayer(
            channels + config.mbstd_channels, channels, 3, activation=config.activation, conv_clamp=config.conv_clamp
        )
        self.fc = FullyConnectedLayer(channels * 16, channels, activation=config.activation)
        self.out = FullyConnectedLayer(channels, max(cmap_dim, 1))

    def forward(self, x: Tensor, image: Tensor | None, cmap: Tensor | None) -> Tensor:
        """``x`` [N,C,4,4] -> logits [N,1]."""
        x = x.to(torch.float32)
        if image is not None:
            x = x + self.fromrgb(image.to(torch.float32))
        x = self.out(self.fc(self.conv(self.mbstd(x)).flatten(1)))
        return x if cmap is None else (x * cmap).sum(dim=1, keepdim=True) / cmap.shape[1] ** 0.5


class Discriminator(nn.Module):
    """Judge images [N, img_channels, R, R] in [-1, 1]: logits [N, 1], positive for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        cmap_dim = 0 if config.c_dim == 0 else config.cmap_dim or config.channels(4)
        for r in config.resolutions:
            setattr(self, f"b{r}", DiscriminatorBlock(r, config))
        if config.c_dim > 0:
            self.mapping = MappingNetwork(
                0, config.c_dim, cmap_dim, None, num_layers=config.mapping_layers, w_avg_beta=None
            )
        self.b4 = DiscriminatorEpilogue(config, cmap_dim)

    def forward(self, images: Tensor, c: Tensor | None = None) -> Tensor:
        x: Tensor | None = None
        image: Tensor | None = images
        for r in self.config.resolutions:
            x, image = getattr(self, f"b{r}")(x, image)
        cmap = self.mapping(None, c) if self.config.c_dim > 0 else None
        assert x is not None
        return self.b4(x, image, cmap)


class PatchDiscriminator(nn.Module):
    """Judge the texture of patches of 18 px (PatchGAN, Isola et al. 2017): [N,3,R,R] -> logits [N,1,R/4,R/4].

    Three further input channels hold what a 3x3 mean takes from the image, amplified by ``detail``: blur is then plain
    from the first update, where a network that sees the image alone takes tens of thousands of photos to notice it.
    """

    def __init__(self, channels: int = 48, detail: float = 4.0) -> None:
        super().__init__()
        self.detail = detail
        self.body = nn.Sequential(
            nn.Conv2d(6, channels, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        return self.body(torch.cat([images, self.detail * (images - blurred)], dim=1))


class FeatureDiscriminator(nn.Module):
    """Judge what a frozen perception network sees (Projected GANs, Sauer et al. 2021): [N,3,R,R] -> logits [N,M].

    Fixed random projections mix the channels of every feature map (section 3.2 there), so that no single feature tells;
    small heads of spectral norm judge each place. The perception network is not part of the state.
    """

    def __init__(self, network: PerceptionNetwork, width: int = 64) -> None:
        super().__init__()
        self._network = (network,)
        self.mixes, self.heads = nn.ModuleList(), nn.ModuleList()
        for channels in network.config.widths:
            mix = nn.Conv2d(channels, width, 1, bias=False)
            nn.init.orthogonal_(mix.weight)
            self.mixes.append(mix)
            head = nn.Sequential(
                spectral_norm(nn.Conv2d(width, width, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, 1, 1)),
            )
            self.heads.append(head)

    def requires_grad_(self, requires_grad: bool = True) -> FeatureDiscriminator:
        """Switch the heads; the projections stay as they are."""
        self.heads.requires_grad_(requires_grad)
        self.mixes.requires_grad_(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits = []
        for x, mix, head in zip(self._network[0].maps(images), self.mixes, self.heads, strict=True):
            x = x / (x.square().mean(dim=1, keepdim=True) + 1e-4).sqrt()
            logits.append(head(mix(x)).flatten(1))
        return torch.cat(logits, dim=1)
