"""Bare state dicts with NVIDIA's names, of StyleGAN2 and StyleGAN3: read, and written so that settings travel along.

Tensors do not tell every setting. What we write carries them in the ``_metadata`` that PyTorch's state dicts have,
where ``load_state_dict`` of others does not look; for what others wrote, shapes and sizes of the weights decide, and
``notes`` say what had to be assumed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import OrderedDict
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, TensorReader, not_understood
from latentedit.checkpoints.pickles.stand_ins import AttributeDict
from latentedit.checkpoints.resample_filters import settle, taps_in
from latentedit.checkpoints.stylegan2_config import lr_multiplier_of, stylegan2_config
from latentedit.errors import ModelError
from latentedit.networks.assembly import NETWORKS, resolve
from latentedit.networks.config_json import config_from_dict
from latentedit.networks.protocols import StyleGenerator

SETTINGS = "latentedit"
FAMILIES = ("Generator", "StyleGAN3Generator")
"""Networks whose tensors have NVIDIA's names."""
_STYLEGAN3 = "synthesis.input.freqs"
_MARKS = ("synthesis.b4.const", _STYLEGAN3)


def is_plain(value: dict[Any, Any]) -> bool:
    """Whether a dictionary is such a state dict."""
    return any(mark in value for mark in _MARKS)


def to_plain(generator: StyleGenerator) -> OrderedDict[str, torch.Tensor]:
    """The state dict of ``generator`` for ``torch.save``, with its settings.

    Raises:
        ModelError: NVIDIA's code has no such network.
    """
    name = type(generator).__name__
    if name not in FAMILIES:
        raise ModelError(
            f"NVIDIA's PyTorch networks are StyleGAN2 and StyleGAN3; a {name} has other tensors.",
            "Write latentedit's own format.",
        )
    state = OrderedDict((key, value.detach().cpu().contiguous()) for key, value in generator.state_dict().items())
    settings = json.dumps({"network": name, "config": dataclasses.asdict(generator.config)}, sort_keys=True)
    state._metadata = OrderedDict({"": {"version": 1, SETTINGS: settings}})  # type: ignore[attr-defined]
    return state


def read_plain(value: dict[Any, Any], read: TensorReader) -> Checkpoint:
    """The generator in the state dict ``value``."""
    state = read.all(value)
    part = _with_settings(value, state, read.origin)
    if part is not None:
        return Checkpoint("state dict with NVIDIA's names, and latentedit's settings", part)
    if _STYLEGAN3 in state:
        part, notes = _stylegan3(state, read.origin), ("the frequencies of its layers were taken for the usual ones",)
        return Checkpoint("state dict with NVIDIA's names, StyleGAN3", part, notes=notes)
    lr = lr_multiplier_of(state)
    config = stylegan2_config(state, read.origin, resample_taps=taps_in(state, read.origin), mapping_lr_multiplier=lr)
    settle(state, config.resample_taps)
    notes = (f"a bare state dict says nothing of conv_clamp; none was assumed (and a mapping learning rate of {lr:g})",)
    if "mapping.w_avg" not in state:
        state["mapping.w_avg"] = torch.zeros(config.w_dim)
        notes += ("it has no mean latent (mapping.w_avg); 0 was assumed, so truncation may look strange",)
    return Checkpoint("state dict with NVIDIA's names, StyleGAN2", Part("Generator", config, state), notes=notes)


def _with_settings(value: dict[Any, Any], state: State, origin: str) -> Part | None:
    """The network that the settings in ``value`` describe, where it has any."""
    attributes = value.attributes if isinstance(value, AttributeDict) else {}
    metadata = attributes.get("_metadata")
    root = metadata.get("") if isinstance(metadata, dict) else None
    text = root.get(SETTINGS) if isinstance(root, dict) else None
    if not isinstance(text, str):
        return None
    try:
        settings = json.loads(text)
        network, config = settings["network"], settings["config"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"The settings in {origin} cannot be read: {error}.", "The file is damaged.") from error
    if network not in FAMILIES:
        raise ModelError(f"{origin} is for the unknown network {network!r:.60}.", "It may need a newer latentedit.")
    made = config_from_dict(resolve(NETWORKS[network].config), config, origin=origin, tensors=len(state))
    return Part(network, made, state)


def _stylegan3(state: State, origin: str) -> Part:
    """StyleGAN3's configuration from names, which hold size and channels of each layer, and shapes."""
    from latentedit.networks.stylegan3 import StyleGAN3Config

    matches = (re.fullmatch(r"synthesis\.L(\d{1,3})_(\d{1,5})_(\d{1,5})\.weight", name) for name in state)
    layers = sorted((int(m[1]), int(m[2]), int(m[3])) for m in matches if m)
    mapping = [name for name in state if re.fullmatch(r"mapping\.fc\d{1,3}\.weight", name)]
    first, styles = state.get("mapping.fc0.weight"), state.get("mapping.w_avg")
    if len(layers) < 2 or first is None or first.ndim != 2 or styles is None or styles.ndim != 1:
        raise not_understood(origin, "its StyleGAN3 is incomplete")
    embed = state.get("mapping.embed.weight", torch.zeros(0, 0))
    start = state[f"synthesis.L{layers[0][0]}_{layers[0][1]}_{layers[0][2]}.weight"]
    values: dict[str, Any] = {
        "resolution": layers[-1][1],
        "img_channels": layers[-1][2],
        "z_dim": first.shape[1] - embed.shape[0],
        "c_dim": embed.shape[-1],
        "w_dim": styles.shape[0],
        "mapping_layers": len(mapping),
        "mapping_lr_multiplier": lr_multiplier_of(state),
        "num_layers": len(layers) - 1,
        "conv_kernel": start.shape[-1],
        "channel_max": max(channels for _, _, channels in layers),
        "use_radial_filters": any(v.ndim == 2 for n, v in state.items() if n.endswith("down_filter")),
    }
    config = config_from_dict(StyleGAN3Config, values, origin=origin, tensors=len(state))
    return Part("StyleGAN3Generator", dataclasses.replace(config, channel_base=_channel_base(config, layers)), state)


def _channel_base(config: Any, layers: list[tuple[int, int, int]]) -> int:
    """``channel_base`` of a StyleGAN3: twice cutoff times channels of its layers below the maximum, rounded."""
    plans = config.plans()[:-1]
    narrow = [2 * p.cutoff * c for p, (_, _, c) in zip(plans, layers, strict=False) if c < config.channel_max]
    base = sum(narrow) / len(narrow) if narrow else 2 * config.channel_max * plans[-1].cutoff
    step = 2 ** max(math.floor(math.log2(base)) - 6, 0)
    return round(base / step) * step
