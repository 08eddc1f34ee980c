"""NVIDIA's PyTorch pickles (stylegan2-ada-pytorch, stylegan3): persistent objects whose code is never looked at.

Attributes of the modules decide where they are present, then the constructor's keywords, then the defaults of
stylegan2-ada-pytorch; shapes of the tensors decide over all.
"""

from __future__ import annotations

from typing import Any

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, TensorReader, not_understood
from latentedit.checkpoints.pickles.stand_ins import Record
from latentedit.checkpoints.resample_filters import settle, taps_in
from latentedit.checkpoints.stylegan2_config import stylegan2_config
from latentedit.networks.config_json import config_from_dict

MAX_MODULES = 4096
MAX_DEPTH = 16

STYLEGAN3_KEYWORDS = (
    "channel_base", "channel_max", "num_layers", "num_critical", "first_cutoff", "first_stopband", "last_stopband_rel",
    "margin_size", "output_scale", "conv_kernel", "filter_size", "lrelu_upsampling", "use_radial_filters", "conv_clamp",
)  # fmt: skip


def is_module(value: Any) -> bool:
    """Whether ``value`` stands for a network that NVIDIA's persistence wrote."""
    return isinstance(value, Record) and value.kind.module == "torch_utils.persistence"


def read_nvidia(generator: Record, read: TensorReader) -> Checkpoint:
    """The generator behind the stand-in of ``G_ema``."""
    state = module_state(generator, read)
    keywords = _keywords(generator)
    if "synthesis.input.freqs" in state:
        return Checkpoint("NVIDIA PyTorch pickle, StyleGAN3", _stylegan3(state, keywords, read.origin))
    if "synthesis.b4.const" not in state:
        raise not_understood(read.origin, f"its network {generator.kind.name!r:.60} is no StyleGAN2 or StyleGAN3")
    config = stylegan2_config(state, read.origin, **_stylegan2_keywords(generator, keywords, state, read.origin))
    settle(state, config.resample_taps)
    return Checkpoint("NVIDIA PyTorch pickle, StyleGAN2", Part("Generator", config, state))


def module_state(module: Record, read: TensorReader) -> State:
    """The state dict of a module's stand-in: parameters and persistent buffers of the whole tree.

    Raises:
        ModelError: a tree that is too deep, too wide, or contains itself.
    """
    state: State = {}
    pending: list[tuple[str, Any, int]] = [("", module, 0)]
    seen = 0
    while pending:
        prefix, node, depth = pending.pop()
        seen += 1
        if seen > MAX_MODULES or depth > MAX_DEPTH:
            raise not_understood(read.origin, "its tree of modules has no end")
        values = _attributes(node, read.origin)
        transient = values.get("_non_persistent_buffers_set")
        transient = transient if isinstance(transient, set | frozenset) else ()
        for group in ("_parameters", "_buffers"):
            for name, value in _group(values, group, read.origin).items():
                if value is not None and not (group == "_buffers" and name in transient):
                    state[f"{prefix}{name}"] = read(value, f"{prefix}{name}")
        children = _group(values, "_modules", read.origin).items()
        pending += [(f"{prefix}{name}.", child, depth + 1) for name, child in children if child is not None]
    return state


def _attributes(node: Any, origin: str) -> dict[str, Any]:
    if not is_module(node) or not isinstance(node.state, dict):
        raise not_understood(origin, f"a module is a {type(node).__name__}")
    return node.state


def _group(values: dict[str, Any], name: str, origin: str) -> dict[Any, Any]:
    group = values.get(name, {})
    if not isinstance(group, dict):
        raise not_understood(origin, f"{name} is a {type(group).__name__}")
    return group


def _child(module: Record, *names: str) -> dict[str, Any]:
    """Attributes of a submodule; empty where it is missing."""
    values: Any = module.state
    for name in names:
        modules = values.get("_modules") if isinstance(values, dict) else None
        child = modules.get(name) if isinstance(modules, dict) else None
        if child is None or not is_module(child):
            return {}
        values = child.state
    return values if isinstance(values, dict) else {}


def _keywords(module: Record) -> dict[str, Any]:
    """The constructor's keywords with the nested ones flattened: ``mapping_kwargs`` under "mapping"."""
    keywords = module.state.get("_init_kwargs")
    keywords = dict(keywords) if isinstance(keywords, dict) else {}
    nested = {name: keywords.pop(f"{name}_kwargs", None) for name in ("mapping", "synthesis")}
    synthesis = nested["synthesis"]
    keywords |= synthesis if isinstance(synthesis, dict) else {}
    mapping = nested["mapping"]
    return {**keywords, "mapping": mapping if isinstance(mapping, dict) else {}}


def _number(*candidates: Any) -> float | None:
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def _stylegan2_keywords(module: Record, keywords: dict[str, Any], state: State, origin: str) -> dict[str, Any]:
    mapping = keywords["mapping"]
    layer = _child(module, "synthesis", "b4", "conv1")
    first = _child(module, "mapping", "fc0")
    clamp = layer["conv_clamp"] if "conv_clamp" in layer else keywords.get("conv_clamp")
    reduced = _number(_child(module, "synthesis").get("num_fp16_res"), keywords.get("num_fp16_res"))
    activation = layer.get("activation", keywords.get("activation"))
    return {
        "conv_clamp": _number(clamp),
        "reduced_res": None if reduced is None else int(reduced),
        "mapping_lr_multiplier": _number(first.get("bias_gain"), mapping.get("lr_multiplier")),
        "w_avg_beta": _number(_child(module, "mapping").get("w_avg_beta"), mapping.get("w_avg_beta")),
        "resample_taps": taps_in(state, origin) or _taps(keywords.get("resample_filter")),
        "activation": activation if isinstance(activation, str) else None,
    }


def _taps(taps: Any) -> tuple[float, ...] | None:
    if not isinstance(taps, list | tuple) or not 0 < len(taps) <= 64:
        return None
    return tuple(taps) if all(_number(tap) is not None for tap in taps) else None


def _stylegan3(state: State, keywords: dict[str, Any], origin: str) -> Part:
    from latentedit.networks.stylegan3 import StyleGAN3Config

    mapping = keywords["mapping"]
    values = {name: keywords[name] for name in STYLEGAN3_KEYWORDS if name in keywords}
    layers = sum(1 for name in state if name.startswith("mapping.fc") and name.endswith(".weight"))
    styles = state.get("mapping.w_avg")
    if styles is None or styles.ndim != 1 or layers == 0:
        raise not_understood(origin, "it has no mapping network with a mean")
    embed = state.get("mapping.embed.weight")
    values |= {
        "resolution": keywords.get("img_resolution"),
        "img_channels": keywords.get("img_channels", 3),
        "z_dim": keywords.get("z_dim"),
        "c_dim": embed.shape[1] if embed is not None and embed.ndim == 2 else 0,
        "w_dim": styles.shape[0],
        "mapping_layers": layers,
        "mapping_lr_multiplier": _number(mapping.get("lr_multiplier")) or 0.01,
    }
    config = config_from_dict(StyleGAN3Config, values, origin=origin, tensors=len(state))
    return Part("StyleGAN3Generator", config, state)
