"""StyleGAN3 (Karras et al. 2021, "Alias-Free Generative Adversarial Networks"), configurations T and R.

Legend: ``N`` images, ``L`` style layers, ``R`` resolution. Frequencies are in cycles per unit, the image being the unit
square: a signal sampled ``s`` times per unit can hold frequencies up to ``s / 2``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.cuda_ops import filtered_lrelu
from latentedit.cuda_ops.activation_reference import default_gain
from latentedit.cuda_ops.modulation import demodulation, energy
from latentedit.errors import ModelError
from latentedit.networks.layers import FullyConnectedLayer
from latentedit.networks.lowpass import design_lowpass
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.protocols import NoiseMode, StyleGenerator, StyleSynthesis


@dataclass(frozen=True)
class LayerPlan:
    """What one layer works with: its output's cutoff, transition half-width, sampling rate, pixels, and channels."""

    cutoff: float
    half_width: float
    sampling_rate: int
    size: int
    channels: int


@dataclass(frozen=True)
class StyleGAN3Config:
    """A StyleGAN3 generator. Configuration R: ``conv_kernel=1, use_radial_filters=True`` and twice the channels.

    The fields from ``num_layers`` to ``output_scale`` set the geometric progression of cutoff and stopband frequencies
    over the layers (section 3.2 of the paper).
    """

    resolution: int
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256.0

    def __post_init__(self) -> None:
        positive = (self.resolution, self.channel_base, self.channel_max, self.w_dim, self.filter_size)
        frequencies = (self.first_cutoff, self.first_stopband, self.last_stopband_rel)
        sensible = min(positive) >= 1 and all(0 < f < 1e4 for f in frequencies)
        if not sensible or not 0 <= self.num_critical < self.num_layers:
            raise ModelError("The configuration of StyleGAN3 has values out of range.", "The file may be damaged.")
        if not 1 <= self.lrelu_upsampling <= 8 or not 1 <= self.conv_kernel <= 9 or not 0 <= self.margin_size <= 256:
            raise ModelError("The configuration of StyleGAN3 has values out of range.", "The file may be damaged.")
        if self.resolution > 8192 or self.filter_size > 64:
            raise ModelError(f"A StyleGAN3 of {self.resolution} px is out of range.", "The file may be damaged.")

    @property
    def num_ws(self) -> int:
        """One style for the input, one per layer, one for the image layer."""
        return self.num_layers + 2

    def plans(self) -> list[LayerPlan]:
        """The ``num_layers + 1`` layers; the last makes the image."""
        last_cutoff = self.resolution / 2
        exponents = np.minimum(np.arange(self.num_layers + 1) / (self.num_layers - self.num_critical), 1)
        cutoffs = self.first_cutoff * (last_cutoff / self.first_cutoff) ** exponents
        last_stopband = last_cutoff * self.last_stopband_rel
        stopbands = self.first_stopband * (last_stopband / self.first_stopband) ** exponents
        rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, self.resolution))))
        half_widths = np.maximum(stopbands, rates / 2) - cutoffs
        sizes = rates + 2 * self.margin_size
        sizes[-2:] = self.resolution
        channels = np.rint(np.minimum(self.channel_base / 2 / cutoffs, self.channel_max))
        channels[-1] = self.img_channels
        rows = zip(cutoffs, half_widths, rates, sizes, channels, strict=True)
        return [LayerPlan(float(c), float(h), int(s), int(p), int(n)) for c, h, s, p, n in rows]


class FourierInput(nn.Module):
    """The input: ``channels`` plane waves of random frequency within the band, moved and turned by the first style.

    ``transform`` [3,3] moves and rotates the picture as a whole: the inverse of the motion, in units of the image.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, plan: LayerPlan) -> None:
        super().__init__()
        self.plan = plan
        freqs = torch.randn(plan.channels, 2)
        radii = freqs.square().sum(dim=1, keepdim=True).sqrt()
        # Uniform on the disk: a Gaussian's radius is mapped through (close to) its own cumulative distribution.
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * plan.cutoff
        self.weight = nn.Parameter(torch.randn(plan.channels, plan.channels))
        self.affine = FullyConnectedLayer(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            assert self.affine.bias is not None
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(plan.channels) - 0.5)

    def forward(self, w: Tensor) -> Tensor:
        """[N, w_dim] -> [N, channels, size, size]."""
        matrix = self._motion(w)
        freqs = self.freqs @ matrix[:, :2, :2]
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)
        nyquist = self.plan.sampling_rate / 2
        # Frequencies that rotation and scaling push towards the Nyquist limit fade out.
        fade = (freqs.square().sum(dim=2).sqrt() - self.plan.cutoff) / (nyquist - self.plan.cutoff)
        amplitudes = (1 - fade).clamp(0, 1)
        waves = torch.sin(2 * torch.pi * (self._grid(w) @ freqs.transpose(1, 2) + phases[:, None]))
        x = (waves * amplitudes[:, None]) @ (self.weight / self.plan.channels**0.5).t()
        return x.transpose(1, 2).reshape(len(w), self.plan.channels, self.plan.size, self.plan.size)

    def _motion(self, w: Tensor) -> Tensor:
        """Rotation and translation that the style asks for, after ``transform``: [N,3,3]."""
        t = self.affine(w)
        cos, sin, x, y = (t / t[:, :2].square().sum(dim=1, keepdim=True).sqrt()).unbind(dim=1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).reshape(-1, 3, 3)
        return rotation @ translation @ self.transform

    def _grid(self, w: Tensor) -> Tensor:
        """Positions (x, y) of the pixels' centres [1, size*size, 2]; the image is the unit square about the origin."""
        n = self.plan.size
        axis = (torch.arange(n, device=w.device, dtype=torch.float32) + 0.5 - n / 2) / self.plan.sampling_rate
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack([x, y], dim=-1).reshape(1, -1, 2)


class AliasFreeLayer(nn.Module):
    """Modulated convolution and `filtered_lrelu`; the image layer is linear and 1x1, without demodulation."""

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, before: LayerPlan, after: LayerPlan, config: StyleGAN3Config, *, index: int) -> None:
        super().__init__()
        self.is_image = index == config.num_layers
        critical = index >= config.num_layers - config.num_critical
        kernel = 1 if self.is_image else config.conv_kernel
        self.conv_clamp = config.conv_clamp
        self.affine = FullyConnectedLayer(config.w_dim, before.channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))

        inner = max(before.sampling_rate, after.sampling_rate) * (1 if self.is_image else config.lrelu_upsampling)
        self.up, self.down = inner // before.sampling_rate, inner // after.sampling_rate
        up_taps = config.filter_size * self.up if self.up > 1 and not self.is_image else 1
        down_taps = config.filter_size * self.down if self.down > 1 and not self.is_image else 1
        radial = config.use_radial_filters and not critical
        self.register_buffer("up_filter", design_lowpass(up_taps, before.cutoff, before.half_width * 2, inner))
        self.register_buffer(
            "down_filter", design_lowpass(down_taps, after.cutoff, after.half_width * 2, inner, radial=radial)
        )
        total = (after.size - 1) * self.down + 1 - (before.size + kernel - 1) * self.up + up_taps + down_taps - 2
        low = (total + self.up) // 2
        self.padding = [low, total - low] * 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` [N,I,h,h], ``w`` [N,w_dim] -> [N,O,h',h']."""
        x = self._modulated(x, self.affine(w))
        gain, slope = (1.0, 1.0) if self.is_image else (default_gain("lrelu"), 0.2)
        return filtered_lrelu(
            x, self.up_filter, self.down_filter, self.bias, up=self.up, down=self.down,
            padding=self.padding, gain=gain, slope=slope, clamp=self.conv_clamp,
        )  # fmt: skip

    def _modulated(self, x: Tensor, styles: Tensor) -> Tensor:
        """Modulated convolution with full padding; the input's running magnitude is divided out (section 3.2)."""
        scale = self.magnitude_ema.rsqrt()
        if self.is_image:
            styles = styles * self.weight[0].numel() ** -0.5 * scale
            return F.conv2d(x * styles[:, :, None, None], self.weight, padding=self.weight.shape[-1] - 1)
        weight = self.weight * self.weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        styles = styles * styles.square().mean(dim=1, keepdim=True).rsqrt()
        x = F.conv2d(x * (styles * scale)[:, :, None, None], weight, padding=weight.shape[-1] - 1)
        return x * demodulation(styles, energy(weight))[:, :, None, None]


class StyleGAN3Synthesis(StyleSynthesis):
    """Render ``ws`` [N, L, w_dim] to images [N, img_channels, R, R] in about [-1, 1]; there is no noise."""

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.num_ws = config.num_ws
        self.w_dim = config.w_dim
        plans = config.plans()
        self.input = FourierInput(config.w_dim, plans[0])
        self.layer_names = []
        for index, plan in enumerate(plans):
            layer = AliasFreeLayer(plans[max(index - 1, 0)], plan, config, index=index)
            name = f"L{index}_{plan.size}_{plan.channels}"
            setattr(self, name, layer)
            self.layer_names.append(name)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Empty: StyleGAN3 has no noise maps."""
        return {}

    @property
    def layer_resolutions(self) -> tuple[int, ...]:
        """The power of two nearest to twice each layer's cutoff frequency: the detail that its style can decide.

        Sampling rates would not do: they start at 16 whatever the layer's band.
        """
        cutoffs = [self.config.first_cutoff, *(plan.cutoff for plan in self.config.plans())]
        return tuple(int(2 ** round(np.log2(2 * cutoff))) for cutoff in cutoffs)

    def refinable_weights(self) -> dict[str, int]:
        """Names of the layers' weights [O,I,k,k] and pixels a side of what they read, margins included."""
        plans = self.config.plans()
        sides = [plan.size for plan in (plans[0], *plans[:-1])]
        return {f"{name}.weight": side for name, side in zip(self.layer_names, sides, strict=True)}

    def move(self, *, translate: tuple[float, float] = (0.0, 0.0), angle: float = 0.0) -> None:
        """Turn the picture by ``angle`` degrees, then move it by ``translate`` (x right, y down, 1 = the image's side).

        The setting stays until the next call; ``move()`` undoes it. The network renders the moved picture anew, so
        nothing is interpolated and what moves in from outside is made up.
        """
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        motion = np.array([[cos, sin, translate[0]], [-sin, cos, translate[1]], [0.0, 0.0, 1.0]])
        self.input.transform.copy_(torch.from_numpy(np.linalg.inv(motion)))

    def style_weights(self) -> Iterator[tuple[int, Tensor]]:
        """As the base's, for the layers behind the Fourier input."""
        for row, name in enumerate(self.layer_names[:-1], start=1):
            yield row, self.get_parameter(f"{name}.affine.weight").detach()

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
        """Render latents; see `StyleSynthesis.forward`.

        ``noise_mode`` and ``dtype`` are accepted for the common face and change nothing: there is no noise, and no
        layer is reduced.
        """
        self.check(ws, noise_mode, noise, resolution)
        styles = ws.to(torch.float32).unbind(dim=1)
        x = self.input(styles[0])
        for name, w in zip(self.layer_names, styles[1:], strict=True):
            x = self.get_submodule(name)(x, w)
        return self.shrunk(x * self.config.output_scale, resolution)


class StyleGAN3Generator(StyleGenerator):
    """StyleGAN3: same calls, same shapes as every family, no noise."""

    config: StyleGAN3Config
    synthesis: StyleGAN3Synthesis

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            config.z_dim, config.c_dim, config.w_dim, config.num_ws,
            num_layers=config.mapping_layers, lr_multiplier=config.mapping_lr_multiplier,
        )  # fmt: skip
        self.synthesis = StyleGAN3Synthesis(config)  # pyright: ignore[reportIncompatibleVariableOverride]
