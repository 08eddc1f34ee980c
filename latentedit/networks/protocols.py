"""The faces behind which families of networks stand: generator, encoder, perception.

Legend: ``N`` images, ``L`` style layers (``num_ws``), ``D`` width of w, ``R`` resolution; images are in [-1, 1].
Whoever inverts, edits or measures calls nothing else, so a new family is one new file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from latentedit.errors import LatentError

if TYPE_CHECKING:
    from latentedit.networks.mapping import MappingNetwork
    from latentedit.networks.perception import Perception

NoiseMode = Literal["const", "random", "none"]
NOISE_MODES: tuple[NoiseMode, ...] = ("const", "random", "none")
Render = Callable[[Tensor], Tensor]
"""Latents ``ws`` [N,L,D] to images [N,3,r,r], at the resolution that its taker asks for."""


class StyleSynthesis(nn.Module, ABC):
    """Renders ``ws`` [N,L,D] to images [N,C,R,R] in about [-1, 1]; call it, it never changes itself."""

    resolution: int
    num_ws: int
    w_dim: int

    @property
    @abstractmethod
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Names of the noise maps in layer order, and their pixels (height, width); empty without noise."""

    @property
    @abstractmethod
    def layer_resolutions(self) -> tuple[int, ...]:
        """Pixels a side of the detail that each of the ``num_ws`` style layers decides."""

    @property
    def preview_resolutions(self) -> tuple[int, ...]:
        """Resolutions below the full one that are rendered by a head of their own, in a fraction of the time."""
        return ()

    @abstractmethod
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
        """Render latents.

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: ``"const"`` uses the stored noise, ``"random"`` draws afresh, ``"none"`` adds none.
            noise: replaces stored maps by name; each broadcastable to [N,1,r,r], so every row may have its own.
            resolution: of the images; a head's where the model has one (``preview_resolutions``), else the full
                picture averaged down. None is the full resolution.
            dtype: of the layers that the configuration marks as reduced, the others are float32. None is float32 on a
                CPU, which has no fast half precision, and the configuration's elsewhere.
            force_fp32: the same as ``dtype=torch.float32``, by the name that NVIDIA's networks give it.

        Raises:
            LatentError: ``ws`` of a wrong shape; an unknown noise mode, map or resolution.
        """

    if TYPE_CHECKING:

        def __call__(
            self,
            ws: Tensor,
            *,
            noise_mode: NoiseMode = "const",
            noise: Mapping[str, Tensor] | None = None,
            resolution: int | None = None,
            dtype: torch.dtype | None = None,
            force_fp32: bool = False,
        ) -> Tensor: ...

    def stored_noise(self, name: str) -> Tensor:
        """The map [r,r] that ``noise_mode="const"`` adds under ``name``, before its learnt strength."""
        return self.get_buffer(f"{name}.noise_const")

    def noise_gain(self, name: str) -> Tensor:
        """The learnt factor of the noise ``name``: a scalar or one per channel [C]; 0 where it has no effect."""
        return self.get_parameter(f"{name}.noise_strength")

    def refinable_weights(self) -> dict[str, int]:
        """Names of the convolutions' weights [O, ...] that draw the picture, and pixels a side of what they read.

        A change of these is what an inversion may keep for its photo; those that only turn features into colours
        (ToRGB, shortcuts) are not among them. Here: ``conv0`` of a block doubles the resolution, ``conv1`` keeps it.
        """
        known = dict(self.named_parameters())
        sides = {name: side // (1 if name.endswith("conv1") else 2) for name, (side, _) in self.noise_shapes.items()}
        return {f"{name}.weight": side for name, side in sides.items() if f"{name}.weight" in known}

    def style_weights(self) -> Iterator[tuple[int, Tensor]]:
        """Per layer the row of ``ws`` and the matrix [C, w_dim] that turns it into styles, without layers that colour.

        Directions that move many styles at once are found in them (SeFa, Shen & Zhou 2021).
        """
        for row, name in enumerate(self.noise_shapes):
            yield row, self.get_parameter(f"{name}.affine.weight").detach()

    def side_weights(self) -> Iterator[tuple[int, Tensor]]:
        """The same for what a row drives beside its layer: the colours, or the step between two resolutions."""
        return iter(())

    def check(
        self, ws: Tensor, noise_mode: str, noise: Mapping[str, Tensor] | None, resolution: int | None = None
    ) -> None:
        """Refuse arguments of `forward` that do not fit this network; families call it first."""
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise LatentError(
                f"ws has shape {tuple(ws.shape)}.", f"This generator takes ws [N, {self.num_ws}, {self.w_dim}]."
            )
        if noise_mode not in NOISE_MODES:
            raise LatentError(f"noise_mode {noise_mode!r} is unknown.", "Choose 'const', 'random' or 'none'.")
        unknown = set(noise or {}) - set(self.noise_shapes)
        if unknown:
            known = list(self.noise_shapes)
            raise LatentError(
                f"Noise buffers {sorted(unknown)} do not exist.",
                f"This generator has {known}." if known else "This generator has no noise.",
            )
        if resolution is not None and (resolution < 1 or self.resolution % resolution):
            raise LatentError(
                f"resolution {resolution} does not divide this generator's {self.resolution} px.",
                f"Choose {self.resolution // 2}, {self.resolution // 4}, ..., or leave it out.",
            )

    def noise_maps(self, ws: Tensor, noise_mode: NoiseMode, noise: Mapping[str, Tensor] | None) -> list[Tensor | None]:
        """One map per entry of ``noise_shapes``, as `forward`'s arguments ask; None adds nothing."""
        maps: list[Tensor | None] = []
        for name, (height, width) in self.noise_shapes.items():
            if noise and name in noise:
                maps.append(noise[name].to(device=ws.device, dtype=torch.float32))
            elif noise_mode == "const":
                maps.append(self.stored_noise(name))
            elif noise_mode == "random":
                maps.append(torch.randn(ws.shape[0], 1, height, width, device=ws.device))
            else:
                maps.append(None)
        return maps

    def shrunk(self, image: Tensor, resolution: int | None) -> Tensor:
        """The full picture averaged down to ``resolution``: what a family without heads returns."""
        if resolution is None or resolution == image.shape[-1]:
            return image
        return nn.functional.avg_pool2d(image, image.shape[-1] // resolution)


class StyleGenerator(nn.Module, ABC):
    """Mapping and synthesis under one roof. It knows nothing of photos, attributes, or files.

    Families: StyleGAN2 (`latentedit.networks.Generator`), StyleGAN 1, StyleGAN3, MobileStyleGAN.
    """

    config: Any  # a frozen dataclass, each family's own
    mapping: MappingNetwork
    synthesis: StyleSynthesis

    @property
    def z_dim(self) -> int:
        """Width of the Gaussian latents that ``mapping`` takes."""
        return self.mapping.z_dim

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 where the generator is unconditional."""
        return self.mapping.c_dim

    @property
    def w_dim(self) -> int:
        """Width ``D`` of w."""
        return self.synthesis.w_dim

    @property
    def num_ws(self) -> int:
        """Number ``L`` of style layers."""
        return self.synthesis.num_ws

    @property
    def resolution(self) -> int:
        """Pixels ``R`` along a side of the images."""
        return self.synthesis.resolution

    @property
    def img_channels(self) -> int:
        """Channels of the images: 3, or 1 where the generator draws in grey."""
        return self.config.img_channels

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
    ) -> Tensor:
        """Sample images [N, img_channels, R, R] from ``z`` [N, z_dim] and labels ``c`` [N, c_dim]."""
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode)


class StyleEncoder(nn.Module, ABC):
    """Photos [N,3,r,r] in [-1,1], ``r = resolution``, to latents ``ws`` [N,L,D]."""

    @property
    @abstractmethod
    def resolution(self) -> int:
        """Pixels along a side of the photos that it takes."""

    @property
    @abstractmethod
    def num_ws(self) -> int:
        """Number ``L`` of style layers of the generator that it belongs to."""

    @property
    @abstractmethod
    def w_dim(self) -> int:
        """Width ``D`` of w."""

    @property
    def iterative(self) -> bool:
        """Whether it was trained to correct itself, so that `refine` needs the generator (ReStyle)."""
        return False

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """One pass: latents [N,L,D] of ``images`` [N,3,r,r]."""

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> Tensor: ...

    def refine(self, images: Tensor, render: Render, *, steps: int = 5) -> Tensor:
        """Latents [N,L,D] by the passes that the encoder was made for: ``steps`` of an iterative one, else one.

        ``render`` maps ws [N,L,D] to images [N,3,r,r] in [-1,1].
        """
        return self(images)


class FacePerception(Protocol):
    """What describes aligned faces: `latentedit.networks.PerceptionNetwork`, or a user's own.

    Images are [N,3,H,W] in [-1,1], of any size. Everything is differentiable.
    """

    @property
    def units(self) -> Mapping[str, str]:
        """Unit of each score by canonical name: "years", "degrees" or "probability"."""
        ...

    @property
    def template(self) -> tuple[float, float]:
        """Scale and shift of the crop template of pictures that show all that it reads."""
        ...

    def perceive(self, images: Tensor) -> Perception:
        """Scores, identity and feature maps of ``images``."""
        ...

    def identity_distance(self, a: Perception | Tensor, b: Perception | Tensor) -> Tensor:
        """Distance [N] between persons; 0.6 separates same from different ones best."""
        ...

    def accept_distance(self, rate: float) -> float:
        """The distance below which two faces count as one person, with a share ``rate`` of errors among strangers."""
        ...

    def perceptual_distance(self, a: Perception | Tensor, b: Perception | Tensor) -> Tensor:
        """Distance [N] of appearances: 0 for equal images, about 1 for unrelated faces."""
        ...

    def for_template(self, scale: float, shift: float) -> FacePerception:
        """The same perception for faces that are cropped by another template."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Its weights, as a module's."""
        ...

    def to(self, device: str | torch.device) -> object:
        """Move to ``device``, in place."""
        ...
