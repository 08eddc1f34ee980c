"""The perception network: what a face looks like, in one differentiable forward pass.

Age, attributes, head pose, an identity embedding, and the feature maps behind a perceptual distance, for aligned
crops of any size. Legend: ``N`` images, ``K`` attributes, ``D`` identity dimensions, ``H, W`` pixels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.attributes import DEGREES, PROBABILITY, TABLE, YEARS, canonical, resolve
from latentedit.errors import DirectionError, ImageError, ModelError
from latentedit.networks.wide_view import WideConfig, WideView

ATTRIBUTES = tuple(attribute.name for attribute in TABLE if attribute.unit == PROBABILITY)
"""Attributes that are trained: `mask`, and those of CelebA (Liu et al. 2015) that describe rather than judge."""

POSE = ("yaw", "pitch", "roll")
ACCEPT_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
"""False-accept rates whose identity distances are stored with the weights."""
_POSE_SCALE = 30.0  # degrees that one unit of the pose head stands for
_MARGIN = 0.02  # share of the side by which a wide view may leave the picture


@dataclass(frozen=True)
class PerceptionConfig:
    """Shape of a `PerceptionNetwork`.

    ``size`` is the side in pixels that images are resampled to; ``widths`` and ``blocks`` give channels and residual
    blocks at 1/2, 1/4, ... of it; ``hidden`` units follow the flattened last map. ``age_bins`` bins of one year start
    at 0. ``folded`` networks have their batch normalisation merged into the convolutions (for inference).
    ``template_scale`` and ``template_shift`` are those of the crop template of the photos that it was trained on.
    Of pictures that show enough, ``wide`` reads its attributes in place of the network's own heads.
    """

    size: int = 64
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    hidden: int = 192
    identity_dim: int = 128
    age_bins: int = 101
    attributes: tuple[str, ...] = ATTRIBUTES
    dropout: float = 0.2
    folded: bool = False
    template_scale: float = 0.55
    template_shift: float = 0.2
    wide: WideConfig | None = None

    def __post_init__(self) -> None:
        for name in ("widths", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        # Files of before the table of attributes say "male".
        object.__setattr__(self, "attributes", tuple(canonical(name) for name in self.attributes))
        unknown = [] if self.wide is None else [n for n in self.wide.attributes if n not in self.attributes]
        if unknown:
            raise ModelError(f"The wide view reads {unknown[0]!r}, which the network does not know.", "Leave it out.")
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ModelError(
                f"widths {self.widths} and blocks {self.blocks} differ in length.", "Give one of each per stage."
            )


@dataclass(frozen=True, eq=False)
class Perception(Mapping[str, Tensor]):
    """What the network sees in N images; also a mapping from attribute name to [N] scores.

    ``age`` [N] years; ``yaw pitch roll`` [N] degrees (yaw: positive where the face looks to the viewer's right,
    pitch: positive where it looks up, roll: positive where the head is turned clockwise in the picture; all relative
    to the aligned crop); ``probabilities`` [N, K] calibrated, in the order of ``names`` and also to be had by name
    (``perception.smile``, ``perception["gender"]``); ``identity`` [N, D] of unit norm; ``features`` maps [N, C, h, w].
    """

    age: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    probabilities: Tensor
    names: tuple[str, ...]
    identity: Tensor
    features: tuple[Tensor, ...] = field(repr=False)
    logits: Tensor = field(repr=False)

    def __getitem__(self, name: str) -> Tensor:
        name = resolve(name, self)
        return self.probabilities[:, self.names.index(name)] if name in self.names else getattr(self, name)

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or canonical(name) not in self.__dict__.get("names", ()):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("age", *POSE, *self.names))

    def __len__(self) -> int:
        return 1 + len(POSE) + len(self.names)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def scores(self) -> dict[str, Tensor]:
        """Every score [N] by canonical name, in the units of `PerceptionNetwork.units`."""
        return dict(self)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a (pooled, projected) identity (He et al. 2016, eq. 1)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, folded: bool = False) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=folded)
        self.norm0 = nn.Identity() if folded else nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=folded)
        self.norm1 = nn.Identity() if folded else nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.project = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm0(self.conv0(x)))
        return F.relu(self.norm1(self.conv1(y)) + self.project(self.pool(x)))


class PerceptionNetwork(nn.Module):
    """A small residual network with heads for age, attributes, pose and identity.

    ``forward`` returns raw heads for training; `perceive` is what the library calls. Calibration lives in buffers:
    ``slope`` and ``offset`` [K] (Platt scaling of the logits), ``identity_scale`` (so that a distance of 0.6 separates
    same from different persons), ``accept_distances`` (the distance at each of `ACCEPT_RATES`), ``feature_weights``
    (each map's share of the perceptual distance).
    """

    accept_distances: Tensor
    slope: Tensor
    offset: Tensor
    identity_scale: Tensor
    feature_weights: Tensor
    ages: Tensor

    def __init__(self, config: PerceptionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PerceptionConfig()
        self.window: tuple[float, float] | None = None
        folded, widths = config.folded, config.widths
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2, bias=folded)
        self.stem_norm = nn.Identity() if folded else nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(
                ResidualBlock(
                    width if block else widths[max(index - 1, 0)],
                    width,
                    stride=2 if index and not block else 1,
                    folded=folded,
                )
                for block in range(config.blocks[index])
            ))
            for index, width in enumerate(widths)
        )  # fmt: skip
        flat = widths[-1] * 16
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(flat, config.hidden, bias=folded)
        self.hidden_norm = nn.Identity() if folded else nn.BatchNorm1d(config.hidden)
        trunk = config.hidden + widths[-1]
        self.attribute_head = nn.Linear(trunk, len(config.attributes))
        self.age_head = nn.Linear(trunk, config.age_bins)
        self.pose_head = nn.Linear(trunk, len(POSE))
        self.identity_head = nn.Linear(flat, config.identity_dim)
        self.register_buffer("slope", torch.ones(len(config.attributes)))
        self.register_buffer("offset", torch.zeros(len(config.attributes)))
        self.register_buffer("identity_scale", torch.ones([]))
        self.register_buffer("accept_distances", torch.full([len(ACCEPT_RATES)], 0.6))
        self.register_buffer("feature_weights", torch.full([len(widths)], 1 / len(widths)))
        self.register_buffer("ages", torch.arange(config.age_bins, dtype=torch.float32))
        self.wide = None if config.wide is None else WideView(config.wide)
        self.wide_window: tuple[float, float] | None = None

    @property
    def units(self) -> dict[str, str]:
        """Unit of each score: "years", "degrees" or "probability"."""
        pose = dict.fromkeys(POSE, DEGREES)
        return {"age": YEARS, **pose, **dict.fromkeys(self.config.attributes, PROBABILITY)}

    def for_template(self, scale: float, shift: float) -> PerceptionNetwork:
        """This network (weights shared) for images cropped by another template: it looks at its own part of them."""
        own, wide = self.config, self.config.wide
        view = copy.copy(self)
        view.window = _window(own.template_scale, own.template_shift, scale, shift)
        if wide is not None:
            view.wide_window = _window(wide.template_scale, wide.template_shift, scale, shift)
        if (scale, shift) == (own.template_scale, own.template_shift):
            view.window = None
        return view

    @property
    def template(self) -> tuple[float, float]:
        """Scale and shift of the crop template of pictures that show all that the network reads."""
        own = self.config if self.config.wide is None else self.config.wide
        return own.template_scale, own.template_shift

    def _sees_surroundings(self) -> bool:
        if self.wide_window is None:
            return False
        share, down = self.wide_window
        return share / 2 + abs(down) <= 0.5 + _MARGIN

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps [N, C, h, w] of the stages, finest first; ``images`` [N,3,H,W] in [-1,1] are resampled."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"Images have shape {tuple(images.shape)}.", "Give [N, 3, H, W] with values in [-1, 1].")
        x = _resample(images.to(self.stem.weight.dtype), self.config.size, self.window)
        x = F.relu(self.stem_norm(self.stem(x.contiguous(memory_format=torch.channels_last))))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def heads(self, last: Tensor) -> dict[str, Tensor]:
        """Raw heads of the last map: ``attributes`` logits, ``age`` logits, ``pose`` degrees, ``identity``."""
        grid = F.adaptive_avg_pool2d(last, 4) if last.shape[-1] != 4 else last
        flat = self.dropout(grid.flatten(1))
        hidden = F.relu(self.hidden_norm(self.hidden(flat)))
        trunk = torch.cat([hidden, last.mean(dim=[2, 3])], dim=1)
        return {
            "attributes": self.attribute_head(trunk),
            "age": self.age_head(trunk),
            "pose": self.pose_head(trunk) * _POSE_SCALE,
            "identity": self.identity_head(flat),
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raw heads for ``images`` [N,3,H,W] in [-1,1]."""
        return self.heads(self.maps(images)[-1])

    def perceive(self, images: Tensor) -> Perception:
        """Describe ``images`` [N,3,H,W] in [-1,1], of any size, aligned by the model's crop template.

        Differentiable. Call it on a network in evaluation mode.
        """
        features = self.maps(images)
        heads = {name: _at_least_float32(value) for name, value in self.heads(features[-1]).items()}
        yaw, pitch, roll = heads["pose"].unbind(dim=1)
        logits = self._with_surroundings(images, heads["attributes"] * self.slope + self.offset)
        return Perception(
            age=heads["age"].softmax(dim=1) @ self.ages,
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            probabilities=logits.sigmoid(),
            names=self.config.attributes,
            identity=F.normalize(heads["identity"], dim=1),
            features=features,
            logits=logits,
        )

    def _with_surroundings(self, images: Tensor, logits: Tensor) -> Tensor:
        """``logits`` [N,K] with what the wide view reads, where ``images`` show enough for it."""
        if self.wide is None or not self._sees_surroundings():
            return logits
        x = _resample(images.to(self.stem.weight.dtype), self.wide.config.size, self.wide_window)
        columns = [self.config.attributes.index(name) for name in self.wide.config.attributes]
        index = torch.tensor(columns, device=logits.device)
        return logits.index_copy(1, index, _at_least_float32(self.wide.log_odds(x)).to(logits.dtype))

    def _perception(self, value: Perception | Tensor) -> Perception:
        return value if isinstance(value, Perception) else self.perceive(value)

    def identity_distance(self, a: Perception | Tensor, b: Perception | Tensor) -> Tensor:
        """Distance [N] between the persons in ``a`` and ``b`` (perceptions or images; one of them may be single).

        Scaled so that 0.6, dlib's threshold, separates same from different persons best.
        """
        difference = self._perception(a).identity - self._perception(b).identity
        return torch.linalg.vector_norm(difference, dim=1) * self.identity_scale

    def accept_distance(self, rate: float) -> float:
        """The identity distance below which a share ``rate`` of pairs of different persons falls.

        Raises:
            DirectionError: a rate outside the range that was measured.
        """
        if not ACCEPT_RATES[-1] <= rate <= ACCEPT_RATES[0]:
            raise DirectionError(
                f"A false-accept rate of {rate:g} was not measured.",
                f"Choose one from {ACCEPT_RATES[-1]:g} to {ACCEPT_RATES[0]:g}.",
            )
        known = [(math.log(r), d) for r, d in zip(ACCEPT_RATES, self.accept_distances.tolist(), strict=True)]
        for (high, far), (low, near) in pairwise(known):
            if math.log(rate) >= low:
                return near + (far - near) * (math.log(rate) - low) / (high - low)
        return known[-1][1]

    def perceptual_distance(self, a: Perception | Tensor, b: Perception | Tensor) -> Tensor:
        """Distance [N] of unit-normalised feature maps (as LPIPS, Zhang et al. 2018, eq. 1).

        0 for equal images; 1 is the mean over pairs of unrelated faces.
        """
        maps_a = a.features if isinstance(a, Perception) else self.maps(a)
        maps_b = b.features if isinstance(b, Perception) else self.maps(b)
        total = torch.zeros([], device=self.feature_weights.device)
        for weight, x, y in zip(self.feature_weights, maps_a, maps_b, strict=True):
            total = total + weight * (_unit(x) - _unit(y)).square().sum(dim=1).mean(dim=[1, 2])
        return total


def _window(own_scale: float, own_shift: float, scale: float, shift: float) -> tuple[float, float]:
    """Where the crop of the own template lies in one of another template: its share of the side, and how far its centre
    lies below the other's, as a share of the side."""
    # An eye-to-mouth length is 0.27 of the side of a crop of scale 1, give or take 0.02 with the face.
    return own_scale / scale, (own_shift - shift) * 0.27 / scale


def _resample(x: Tensor, size: int, window: tuple[float, float] | None) -> Tensor:
    """The ``window`` (None: all) of images [N,3,H,W] at ``size`` pixels; beyond the image its border is repeated."""
    if window is not None and window != (1.0, 0.0):
        share, down = window
        outer = round(size / share)
        x = F.interpolate(x, (outer, outer), mode="bilinear", antialias=True, align_corners=False)
        left = round((outer - size) / 2)
        top = round((outer - size) / 2 + down * outer)
        # Negative padding crops.
        return F.pad(x, [-left, left + size - outer, -top, top + size - outer], mode="replicate")
    if tuple(x.shape[-2:]) != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return x


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()


def extend(network: PerceptionNetwork, view: WideView) -> PerceptionNetwork:
    """A copy of ``network`` that reads the attributes of ``view`` through it; ``network`` has none yet or loses it."""
    result = PerceptionNetwork(replace(network.config, wide=view.config))
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("wide.")}
    result.load_state_dict(own | {f"wide.{name}": value for name, value in view.state_dict().items()})
    return result.eval().requires_grad_(False)


def fold(network: PerceptionNetwork, attributes: tuple[str, ...] | None = None) -> PerceptionNetwork:
    """A copy for inference: batch normalisation merged into the convolutions, only ``attributes`` kept (None: all)."""
    source = network.config
    if source.folded:
        raise ModelError("The network is folded already.", "Fold the training checkpoint instead.")
    keep = source.attributes if attributes is None else attributes
    rows = [source.attributes.index(name) for name in keep]
    result = PerceptionNetwork(replace(source, folded=True, attributes=keep))
    state = dict(network.state_dict())
    pairs = {"stem": "stem_norm", "hidden": "hidden_norm"}
    for name, module in network.named_modules():
        if isinstance(module, ResidualBlock):
            pairs |= {f"{name}.conv{i}": f"{name}.norm{i}" for i in (0, 1)}
    for layer, norm in pairs.items():
        scale = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + 1e-5).rsqrt()
        weight = state[f"{layer}.weight"]
        state[f"{layer}.weight"] = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        state[f"{layer}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    for name in ("attribute_head.weight", "attribute_head.bias", "slope", "offset"):
        state[name] = state[name][rows]
    result.load_state_dict({name: state[name] for name in result.state_dict()})
    return result.eval().requires_grad_(False)
