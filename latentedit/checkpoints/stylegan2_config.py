"""Configuration of a StyleGAN2 generator from its tensors: names and shapes decide, keywords fill in the rest."""

from __future__ import annotations

import math
import re
from typing import Any

from latentedit.checkpoints.checkpoint import State, not_understood
from latentedit.networks.config import GeneratorConfig

MAX_RESOLUTION = 4096


def stylegan2_config(state: State, origin: str, **keywords: Any) -> GeneratorConfig:
    """The config that fits ``state`` (NVIDIA's names).

    ``keywords`` are what shapes cannot tell (``conv_clamp``, ``reduced_res``, ``mapping_lr_multiplier`` ...); None
    means unknown and leaves the default.
    """
    resolutions = sorted(
        int(match[1])
        for match in (re.fullmatch(r"synthesis\.b(\d{1,4})\.conv1\.weight", name) for name in state)
        if match
    )
    if not resolutions or resolutions != [4 << i for i in range(len(resolutions))] or resolutions[-1] > MAX_RESOLUTION:
        raise not_understood(origin, f"its blocks have the resolutions {resolutions}")
    channels = {r: _shape(state, f"synthesis.b{r}.conv1.weight", 4, origin)[0] for r in resolutions}
    widest = max(channels.values())
    narrow = [r * count for r, count in channels.items() if count < widest]
    layers = _count(state, "mapping.fc{}.weight")
    if layers == 0:
        raise not_understood(origin, "it has no mapping network")
    first, last = (_shape(state, f"mapping.fc{i}.weight", 2, origin) for i in (0, layers - 1))
    embed = _shape(state, "mapping.embed.weight", 2, origin) if "mapping.embed.weight" in state else (0, 0)
    top = resolutions[-1]
    values: dict[str, Any] = {
        "resolution": top,
        "img_channels": _shape(state, f"synthesis.b{top}.torgb.weight", 4, origin)[0],
        "z_dim": first[1] - embed[0],
        "c_dim": embed[1],
        "w_dim": last[0],
        "embed_features": embed[0] if embed[1] and embed[0] != last[0] else None,
        "mapping_layers": layers,
        "mapping_features": first[0] if layers > 1 and first[0] != last[0] else None,
        "channel_base": max(narrow) if narrow else widest * top,
        "channel_max": widest,
        "architecture": _architecture(state, resolutions),
    }
    values |= {name: value for name, value in keywords.items() if value is not None}
    return GeneratorConfig(**values)


def lr_multiplier_of(state: State) -> float:
    """The learning-rate multiplier of a mapping network, from the size of its weights.

    They start as normals of deviation ``1 / multiplier`` and training moves them little, so of the multipliers in use
    (1, 0.1, and the published networks' 0.01) the nearest is taken.
    """
    weights = [value for name, value in state.items() if re.fullmatch(r"mapping\.fc\d{1,3}\.weight", name)]
    spread = [float(value.float().square().mean().sqrt()) for value in weights if value.numel()]
    size = sorted(spread)[len(spread) // 2] if spread else 0.0
    if not 0 < size < math.inf:
        return 0.01
    return min((0.01, 0.1, 1.0), key=lambda lr: abs(math.log(lr * size)))


def _shape(state: State, name: str, dimensions: int, origin: str) -> tuple[int, ...]:
    if name not in state:
        raise not_understood(origin, f"{name} is missing")
    shape = tuple(state[name].shape)
    if len(shape) != dimensions or 0 in shape:
        raise not_understood(origin, f"{name} has shape {list(shape)}")
    return shape


def _count(state: State, pattern: str) -> int:
    count = 0
    while pattern.format(count) in state:
        count += 1
    return count


def _architecture(state: State, resolutions: list[int]) -> str:
    if f"synthesis.b{resolutions[-1]}.skip.weight" in state:
        return "resnet"
    return "skip" if "synthesis.b4.torgb.weight" in state or len(resolutions) == 1 else "orig"
