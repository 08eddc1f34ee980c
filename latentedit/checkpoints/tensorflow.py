"""TensorFlow pickles of StyleGAN 1 and 2, without TensorFlow: variables to NVIDIA's PyTorch names.

A network's state lists its own variables and its components (``mapping``, ``synthesis``), each a network again.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, TensorReader, not_understood
from latentedit.checkpoints.pickles.allowed import NETWORK
from latentedit.checkpoints.pickles.stand_ins import Record
from latentedit.checkpoints.resample_filters import settle
from latentedit.checkpoints.stylegan2_config import stylegan2_config

MAX_COMPONENTS = 16


def is_network(value: Any) -> bool:
    """Whether ``value`` stands for a TensorFlow network of dnnlib."""
    return isinstance(value, Record) and value.kind == NETWORK


def read_tensorflow(network: Record, read: TensorReader) -> Checkpoint:
    """The generator behind the stand-in of ``Gs``."""
    state = network.state
    if not isinstance(state, dict):
        raise not_understood(read.origin, "its network has no state")
    keywords = state.get("static_kwargs")
    keywords = keywords if isinstance(keywords, dict) else {}
    variables = _variables(network, read)
    if any(name.endswith("StyleMod/weight") for name in variables):
        return Checkpoint("TensorFlow pickle, StyleGAN 1", _stylegan1(variables, read.origin))
    if any(name.endswith("mod_weight") for name in variables):
        return Checkpoint("TensorFlow pickle, StyleGAN2", _stylegan2(variables, keywords, read.origin))
    raise not_understood(read.origin, "its TensorFlow network is neither StyleGAN 1 nor StyleGAN2")


def _variables(network: Record, read: TensorReader, prefix: str = "") -> State:
    """All variables by name; those of a component carry its name as prefix."""
    values = network.state if isinstance(network.state, dict) else {}
    found: State = {}
    variables = values.get("variables", [])
    if not isinstance(variables, list | tuple):
        raise not_understood(read.origin, "its variables are no list")
    for entry in variables:
        if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise not_understood(read.origin, "a variable is no pair of name and value")
        name, value = entry
        found[prefix + name] = torch.tensor(float(value)) if isinstance(value, int | float) else read(value, name)
    components = values.get("components", {})
    if not isinstance(components, dict) or len(components) > MAX_COMPONENTS or (prefix and components):
        raise not_understood(read.origin, "its components are strange")
    for name, component in components.items():
        if not is_network(component) or not isinstance(name, str):
            raise not_understood(read.origin, "a component is no network")
        found |= _variables(component, read, f"{name}/")
    return found


def _matrix(value: torch.Tensor) -> torch.Tensor:
    return value.t().contiguous()


def _kernel(value: torch.Tensor) -> torch.Tensor:
    return value.permute(3, 2, 0, 1).contiguous()


def _flipped_kernel(value: torch.Tensor) -> torch.Tensor:
    return _kernel(value.flip([0, 1]))


# --- StyleGAN2 --------------------------------------------------------------------------------------------------------


def _stylegan2_entry(name: str) -> tuple[str, Any] | None:
    """Our name and the change of value for a variable; None for those that inference does not use."""
    if name == "dlatent_avg":
        return "mapping.w_avg", None
    match = re.fullmatch(r"mapping/(?:LabelEmbed|Dense(\d{1,3}))/(weight|bias)", name)
    if match is not None:
        layer = "embed" if match[1] is None else f"fc{match[1]}"
        return f"mapping.{layer}.{match[2]}", _matrix if match[2] == "weight" else None
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", lambda value: value[0]
    match = re.fullmatch(r"synthesis/noise(\d{1,2})", name)
    if match is not None:
        index = int(match[1])
        return f"synthesis.b{4 << (index + 1) // 2}.conv{1 - index % 2}.noise_const", lambda value: value[0, 0]
    match = re.fullmatch(r"synthesis/(\d{1,4})x\1/(Conv|Conv0_up|Conv1|ToRGB|Skip)/(\w+)", name)
    if match is None:
        return None
    r, layer, leaf = match.groups()
    ours = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}[layer]
    head = f"synthesis.b{r}.{ours}"
    if leaf == "weight":
        return f"{head}.weight", _flipped_kernel if layer in ("Conv0_up", "Skip") else _kernel
    if leaf == "mod_weight":
        return f"{head}.affine.weight", _matrix
    if leaf == "mod_bias":
        return f"{head}.affine.bias", lambda value: value + 1
    return (f"{head}.{leaf}", None) if leaf in ("bias", "noise_strength") else None


def _stylegan2(variables: State, keywords: dict[str, Any], origin: str) -> Part:
    state: State = {}
    for name, value in variables.items():
        entry = _stylegan2_entry(name)
        if entry is None:
            if name.rpartition("/")[2] in ("lod",) or "training" in name:
                continue
            raise not_understood(origin, f"the variable {name!r:.80} is unknown")
        ours, change = entry
        try:
            state[ours] = value if change is None else change(value)
        except (RuntimeError, IndexError) as error:
            raise not_understood(origin, f"{name!r:.80} has shape {list(value.shape)}") from error
    taps = keywords.get("resample_kernel")
    clamp, reduced, lr = (keywords.get(name) for name in ("conv_clamp", "num_fp16_res", "mapping_lrmul"))
    config = stylegan2_config(
        state,
        origin,
        conv_clamp=clamp if isinstance(clamp, int | float) else None,
        reduced_res=reduced if type(reduced) is int and 0 <= reduced <= 16 else None,
        mapping_lr_multiplier=lr if isinstance(lr, float) else None,
        activation=keywords.get("nonlinearity") if isinstance(keywords.get("nonlinearity"), str) else None,
        resample_taps=tuple(taps) if isinstance(taps, list | tuple) and 0 < len(taps) <= 64 else None,
    )
    settle(state, config.resample_taps)  # filters are constants in TensorFlow, and buffers with us
    return Part("Generator", config, state)


# --- StyleGAN 1 -------------------------------------------------------------------------------------------------------


def _stylegan1(variables: State, origin: str) -> Part:
    if any("LabelConcat" in name for name in variables):
        raise not_understood(origin, "conditional StyleGAN 1 networks are not supported")
    state: State = {}
    for name, value in variables.items():
        entry = _stylegan1_entry(name)
        if entry is None:
            continue
        ours, change = entry
        try:
            state[ours] = value if change is None else change(value)
        except (RuntimeError, IndexError) as error:
            raise not_understood(origin, f"{name!r:.80} has shape {list(value.shape)}") from error
    return Part("StyleGAN1Generator", _stylegan1_config(state, origin), state)


def _stylegan1_config(state: State, origin: str) -> Any:
    from latentedit.networks.stylegan1 import StyleGAN1Config

    matches = (re.fullmatch(r"synthesis\.b(\d{1,4})\.conv1\.weight", name) for name in state)
    resolutions = sorted(int(match[1]) for match in matches if match)
    layers = sum(1 for name in state if re.fullmatch(r"mapping\.fc\d+\.weight", name))
    first, last = state.get("mapping.fc0.weight"), state.get(f"mapping.fc{layers - 1}.weight")
    image = state.get("synthesis.torgb.weight")
    whole = resolutions == [4 << i for i in range(len(resolutions))] and len(resolutions) > 1
    if not whole or first is None or last is None or image is None or not first.ndim == last.ndim == 2:
        raise not_understood(origin, "its mapping or synthesis network is incomplete")
    channels = {r: state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions}
    widest = max(channels.values())
    narrow = [r * count for r, count in channels.items() if count < widest]
    return StyleGAN1Config(
        resolution=resolutions[-1],
        img_channels=image.shape[0],
        z_dim=first.shape[1],
        w_dim=last.shape[0],
        mapping_layers=layers,
        mapping_features=first.shape[0] if first.shape[0] != last.shape[0] else None,
        channel_base=max(narrow) if narrow else widest * resolutions[-1],
        channel_max=widest,
    )


_STYLEGAN1_LEAVES: dict[str, tuple[str, Any]] = {
    "weight": ("weight", _kernel),
    "bias": ("bias", None),
    "Noise/weight": ("noise_strength", None),
    "StyleMod/weight": ("affine.weight", _matrix),
    "StyleMod/bias": ("affine.bias", None),
}


def _stylegan1_entry(name: str) -> tuple[str, Any] | None:
    if name == "dlatent_avg":
        return "mapping.w_avg", None
    match = re.fullmatch(r"mapping/Dense(\d{1,3})/(weight|bias)", name)
    if match is not None:
        return f"mapping.fc{match[1]}.{match[2]}", _matrix if match[2] == "weight" else None
    match = re.fullmatch(r"synthesis/noise(\d{1,2})", name)
    if match is not None:
        index = int(match[1])
        return f"synthesis.b{4 << index // 2}.conv{index % 2}.noise_const", lambda value: value[0, 0]
    match = re.fullmatch(r"synthesis/ToRGB_lod0/(weight|bias)", name)
    if match is not None:
        return f"synthesis.torgb.{match[1]}", _kernel if match[1] == "weight" else None
    match = re.fullmatch(r"synthesis/(\d{1,4})x\1/(Const|Conv|Conv0_up|Conv1)/(.+)", name)
    if match is None:
        return None
    if match[2] == "Const" and match[3] == "const":
        return "synthesis.b4.const", lambda value: value[0]
    if match[3] not in _STYLEGAN1_LEAVES:
        return None
    layer = {"Const": "conv0", "Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1"}[match[2]]
    leaf, change = _STYLEGAN1_LEAVES[match[3]]
    return f"synthesis.b{match[1]}.{layer}.{leaf}", change
