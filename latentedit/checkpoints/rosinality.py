"""The widespread PyTorch port of StyleGAN2 ("rosinality"): its keys to NVIDIA's names, and back."""

from __future__ import annotations

import re

import numpy as np
import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, not_understood
from latentedit.checkpoints.resample_filters import settle, taps_in
from latentedit.checkpoints.stylegan2_config import lr_multiplier_of, stylegan2_config
from latentedit.errors import ModelError
from latentedit.networks.config import GeneratorConfig

_LEAVES = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
_BACK = {new: old for old, new in _LEAVES.items() if old != "bias"}
_SHAPES = {"input.input": 4, "conv.weight": 5}


def _layer(key: str) -> tuple[str, str] | None:
    """Layer of ours and leaf of theirs: ``convs.3.conv.weight`` is (``b16.conv1``, ``conv.weight``)."""
    match = re.fullmatch(r"(conv1|to_rgb1|convs\.(\d{1,3})|to_rgbs\.(\d{1,3}))\.(.+)", key)
    if match is None:
        return None
    head, conv, rgb, leaf = match[1], match[2], match[3], match[4]
    if head == "conv1":
        return "b4.conv1", leaf
    if head == "to_rgb1":
        return "b4.torgb", leaf
    index = int(conv) if conv is not None else int(rgb)
    block = index // 2 if conv is not None else index
    if block > 16:
        return None
    return f"b{8 << block}.{f'conv{index % 2}' if conv is not None else 'torgb'}", leaf


def _renamed(key: str) -> str | None:
    """Our name of a key of theirs; None for filters and unknown keys."""
    match = re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", key)
    if match is not None and int(match[1]) > 0:
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"
    if key == "input.input":
        return "synthesis.b4.const"
    match = re.fullmatch(r"noises\.noise_(\d{1,3})", key)
    if match is not None:
        index = int(match[1])
        return f"synthesis.b{4 << (index + 1) // 2}.conv{1 - index % 2}.noise_const" if index < 40 else None
    found = _layer(key)
    if found is None or found[1] not in _LEAVES:
        return None
    return f"synthesis.{found[0]}.{_LEAVES[found[1]]}"


def is_rosinality(keys: object) -> bool:
    """Whether the keys of a state dict are this port's."""
    return isinstance(keys, dict) and "input.input" in keys and "style.1.weight" in keys and "conv1.conv.weight" in keys


def from_rosinality(theirs: State, average: torch.Tensor | None, origin: str) -> Checkpoint:
    """Their state dict as a checkpoint of ours.

    ``average`` is ``latent_avg`` ([w_dim] or [L, w_dim]); without one it is estimated from 4,096 seeded latents, and
    stored noise that older files lack is drawn from a fixed seed. ``notes`` of the result say so.
    """
    state: State = {}
    for key, value in theirs.items():
        name = _renamed(key)
        if name is not None:
            state[name] = _reshaped(name, value, key, origin)
        elif key.endswith("kernel"):
            _add_filter(state, key, value)
        else:
            raise not_understood(origin, f"the key {key!r:.80} is unknown")
    notes = []
    if not any(name.endswith("noise_const") for name in state):
        notes.append("the file has no noise maps; they were drawn from seed 0")
        _draw_noise(state)
    lr = lr_multiplier_of(state)
    config = stylegan2_config(state, origin, resample_taps=taps_in(state, origin), mapping_lr_multiplier=lr)
    if config.architecture != "skip":
        raise not_understood(origin, "its to_rgb layers are missing")
    if average is None:
        notes.append("the file has no latent_avg; it was estimated from 4,096 latents")
    settle(state, config.resample_taps)
    state["mapping.w_avg"] = _average(state, average, config, origin)
    return Checkpoint("rosinality .pt, StyleGAN2", Part("Generator", config, state), notes=tuple(notes))


def _add_filter(state: State, key: str, kernel: torch.Tensor) -> None:
    """A ``*.kernel`` buffer under our name: it holds the filter times 4, since their up-sampling spreads zeros."""
    layer = _layer(key)
    if layer is not None and layer[1] == "conv.blur.kernel":
        state[f"synthesis.{layer[0]}.resample_filter"] = kernel / 4
    elif layer is not None and layer[1] == "upsample.kernel":
        state[f"synthesis.{layer[0].rpartition('.')[0]}.resample_filter"] = kernel / 4


def _reshaped(name: str, value: torch.Tensor, key: str, origin: str) -> torch.Tensor:
    leaf = name.rpartition(".")[2]
    try:
        if leaf == "const" or (leaf == "weight" and value.ndim == 5):
            return value.squeeze(0)
        if leaf == "noise_const":
            return value.reshape(value.shape[-2:])
        if leaf == "noise_strength":
            return value.reshape([])
        return value.reshape(-1) if leaf == "bias" else value
    except (RuntimeError, IndexError) as error:
        raise not_understood(origin, f"{key!r:.80} has shape {list(value.shape)}") from error


def _draw_noise(state: State) -> None:
    random = np.random.RandomState(0)
    names = [name for name in state if name.endswith("noise_strength")]
    for name in sorted(names, key=lambda name: (int(name.split(".")[1][1:]), name)):
        r = min(int(name.split(".")[1][1:]), 4096)
        noise = torch.from_numpy(random.standard_normal((r, r)).astype(np.float32))
        state[name.replace("noise_strength", "noise_const")] = noise


def _average(state: State, average: torch.Tensor | None, config: GeneratorConfig, origin: str) -> torch.Tensor:
    w_dim = config.w_dim
    if average is not None:
        flat = average.float().reshape(-1, average.shape[-1]) if average.ndim else average
        if flat.ndim != 2 or flat.shape[1] != w_dim:
            raise not_understood(origin, f"latent_avg has shape {list(average.shape)}")
        return flat.mean(dim=0)
    from latentedit.networks.mapping import MappingNetwork

    first = state["mapping.fc0.weight"]
    mapping = MappingNetwork(
        config.z_dim, 0, w_dim, None, num_layers=config.mapping_layers,
        layer_features=first.shape[0], lr_multiplier=config.mapping_lr_multiplier,
    )  # fmt: skip
    try:
        mapping.load_state_dict({name.removeprefix("mapping."): state[name] for name in state if name[:7] == "mapping"})
    except RuntimeError as error:
        raise not_understood(origin, "its mapping network has uneven layers") from error
    z = np.random.RandomState(0).standard_normal((4096, first.shape[1]))
    with torch.no_grad():
        return mapping(torch.from_numpy(z.astype(np.float32))).mean(dim=0)


def to_rosinality(generator: torch.nn.Module) -> dict[str, State | torch.Tensor]:
    """``{"g_ema": state dict, "latent_avg": w_avg}`` for a generator of ours, as that port's tools load it.

    Raises:
        ModelError: the port has no such network: conditional, not "skip", or not of three image channels.
    """
    config = getattr(generator, "config", None)
    plain = type(generator).__name__ == "Generator"
    if not plain or config is None or config.c_dim or config.architecture != "skip" or config.img_channels != 3:
        raise ModelError(
            "rosinality's format knows unconditional StyleGAN2 generators of the skip architecture only.",
            "Write latentedit's own format.",
        )
    theirs: State = {}
    for name, value in generator.state_dict().items():
        entry = _named_back(name, value.detach().cpu())
        if entry is not None:
            theirs[entry[0]] = entry[1].contiguous()
    return {"g_ema": theirs, "latent_avg": generator.state_dict()["mapping.w_avg"].detach().cpu().clone()}


def _named_back(name: str, value: torch.Tensor) -> tuple[str, torch.Tensor] | None:
    parts = name.split(".")
    if parts[0] == "mapping":
        return (f"style.{int(parts[1][2:]) + 1}.{parts[2]}", value) if parts[1].startswith("fc") else None
    r, leaf = int(parts[1][1:]), ".".join(parts[3:])
    if parts[2] == "const":
        return "input.input", value[None]
    block = r.bit_length() - 4
    if parts[2] == "resample_filter":
        return (f"to_rgbs.{block}.upsample.kernel", value * 4) if r > 4 else None
    if parts[2] == "torgb":
        head = "to_rgb1" if r == 4 else f"to_rgbs.{block}"
        if leaf == "bias":
            return f"{head}.bias", value.reshape(1, -1, 1, 1)
    else:
        index = int(parts[2][4:])
        head = "conv1" if r == 4 else f"convs.{2 * block + index}"
        if leaf == "noise_const":
            return f"noises.noise_{2 * (r.bit_length() - 3) - 1 + index if r > 4 else 0}", value[None, None]
        if leaf == "resample_filter":
            return (f"{head}.conv.blur.kernel", value * 4) if index == 0 else None
    if leaf == "noise_strength":
        value = value.reshape(1)
    return f"{head}.{_BACK[leaf]}", value[None] if leaf == "weight" else value
