"""Configurations of the networks: frozen dataclasses with flat keywords, stored beside the weights as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentedit.errors import ModelError

Architecture = Literal["skip", "resnet", "orig"]
ReducedDtype = Literal["float16", "bfloat16"]


def _check_resolution(resolution: int) -> None:
    if resolution < 4 or resolution & (resolution - 1):
        raise ModelError(f"resolution {resolution} is not a power of two of at least 4.", "Choose 64, 128, 256, ...")


def _check_architecture(architecture: str) -> None:
    if architecture not in ("skip", "resnet", "orig"):
        raise ModelError(f"architecture {architecture!r} is unknown.", "Choose 'skip', 'resnet' or 'orig'.")


@dataclass(frozen=True)
class GeneratorConfig:
    """A StyleGAN2 generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

    ``channel_base`` and ``channel_max`` give ``min(channel_base / r, channel_max)`` channels at resolution ``r``.
    The top ``reduced_res`` resolutions compute in ``reduced_dtype`` where the caller asks for reduced precision;
    weights are float32 throughout. ``conv_clamp`` bounds activations to +-``conv_clamp`` (needed in float16).
    """

    resolution: int = 64
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_features: int | None = None
    embed_features: int | None = None
    mapping_lr_multiplier: float = 0.01
    w_avg_beta: float = 0.998
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Architecture = "skip"
    conv_clamp: float | None = None
    activation: str = "lrelu"
    resample_taps: tuple[float, ...] = (1, 3, 3, 1)
    reduced_res: int = 0
    reduced_dtype: ReducedDtype = "float16"

    def __post_init__(self) -> None:
        object.__setattr__(self, "resample_taps", tuple(self.resample_taps))
        _check_resolution(self.resolution)
        _check_architecture(self.architecture)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., ``resolution``."""
        return tuple(2**i for i in range(2, self.resolution.bit_length()))

    @property
    def num_ws(self) -> int:
        """Number of style layers that a latent addresses."""
        return 2 * len(self.resolutions)

    def channels(self, resolution: int) -> int:
        """Feature maps at ``resolution``."""
        return min(self.channel_base // resolution, self.channel_max)

    def is_reduced(self, resolution: int) -> bool:
        """Whether the block of ``resolution`` runs in ``reduced_dtype``; never below 8 px."""
        return self.reduced_res > 0 and resolution >= max(self.resolution * 2 >> self.reduced_res, 8)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The residual discriminator of StyleGAN2 with minibatch standard deviation; fields as in `GeneratorConfig`."""

    resolution: int = 64
    img_channels: int = 3
    c_dim: int = 0
    cmap_dim: int | None = None
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Architecture = "resnet"
    conv_clamp: float | None = None
    activation: str = "lrelu"
    resample_taps: tuple[float, ...] = (1, 3, 3, 1)
    mbstd_group_size: int | None = 4
    mbstd_channels: int = 1
    reduced_res: int = 0
    reduced_dtype: ReducedDtype = "float16"

    def __post_init__(self) -> None:
        object.__setattr__(self, "resample_taps", tuple(self.resample_taps))
        _check_resolution(self.resolution)
        _check_architecture(self.architecture)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks from the image down to 8; the epilogue works at 4."""
        return tuple(2**i for i in range(self.resolution.bit_length() - 1, 2, -1))

    def channels(self, resolution: int) -> int:
        """Feature maps at ``resolution``."""
        return min(self.channel_base // resolution, self.channel_max)

    def is_reduced(self, resolution: int) -> bool:
        """Whether the block of ``resolution`` runs in ``reduced_dtype``."""
        return self.reduced_res > 0 and resolution >= max(self.resolution * 2 >> self.reduced_res, 8)


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder into W+ for square crops: a base ``w`` plus small offsets per layer (e4e, Tov et al. 2021, eq. 1).

    ``channels`` are the widths at ``resolution``, ``resolution/2``, ... down to 4 px.
    """

    resolution: int = 64
    num_ws: int = 10
    w_dim: int = 512
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    blocks: int = 1
    offsets: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        _check_resolution(self.resolution)
        levels = self.resolution.bit_length() - 2
        if len(self.channels) != levels:
            raise ModelError(
                f"channels {self.channels} has {len(self.channels)} entries; {self.resolution} px needs {levels}.",
                "Give one width per resolution from the image down to 4 px.",
            )
