"""Files of other projects, written from the description of their formats; the code of those projects is not needed."""

from __future__ import annotations

import pickle
import sys
import types
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

HOSTILE_SOURCE = "import pathlib; pathlib.Path({!r}).write_text('executed')"


class EasyDict(dict):
    pass


class Network:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state


class Persistent:
    """A network object as NVIDIA's persistence writes it."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str) -> None:
        self.meta = EasyDict(type="class", version=6, module_src=source, class_name=class_name, state=state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,)


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise AssertionError("the reader called the function that a pickle named")


@contextmanager
def foreign_modules() -> Iterator[None]:
    """Let pickle find the globals of other projects while it writes."""
    homes = {
        "dnnlib.util": ("EasyDict", EasyDict),
        "dnnlib.tflib.network": ("Network", Network),
        "torch_utils.persistence": ("_reconstruct_persistent_obj", _reconstruct_persistent_obj),
    }
    added: list[str] = []
    kept = [(item, item.__module__) for _, item in homes.values()]
    try:
        for name, (attribute, item) in homes.items():
            parts = name.split(".")
            for i in range(1, len(parts) + 1):
                parent = ".".join(parts[:i])
                if parent not in sys.modules:
                    sys.modules[parent] = types.ModuleType(parent)
                    added.append(parent)
            setattr(sys.modules[name], attribute, item)
            item.__module__ = name
        yield
    finally:
        for item, module in kept:
            item.__module__ = module
        for name in added:
            del sys.modules[name]


BUFFERS = (
    "w_avg", "resample_filter", "noise_const", "transform", "freqs", "phases", "magnitude_ema",
    "up_filter", "down_filter",
)  # fmt: skip


def nvidia_object(state: dict[str, Any], class_name: str, source: str, **kwargs: Any) -> Persistent:
    """Nested persistent objects for a flat state dict."""
    values: dict[str, Any] = {
        "training": False,
        "_parameters": OrderedDict(),
        "_buffers": OrderedDict(),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict(),
        "_init_args": (),
        "_init_kwargs": EasyDict(kwargs),
    }
    children: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = value
        elif head in BUFFERS:
            values["_buffers"][head] = value
        else:
            values["_parameters"][head] = torch.nn.Parameter(value, requires_grad=False)
    for name, inner in children.items():
        values["_modules"][name] = nvidia_object(inner, "Part", source)
    return Persistent(class_name, values, source)


def write_nvidia(
    path: Path, state: dict[str, Any], kwargs: dict[str, Any], *, protocol: int = 4, source: str = ""
) -> None:
    """``network-snapshot.pkl``; ``source`` becomes the ``module_src`` of every object."""
    generator = nvidia_object(state, "Generator", source, **kwargs)
    content = {
        "G": None,
        "D": nvidia_object({"b4.out.weight": torch.zeros(1, 2)}, "Discriminator", source),
        "G_ema": generator,
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", max_size=np.int64(3)),
        "augment_pipe": None,
    }
    with foreign_modules():
        path.write_bytes(pickle.dumps(content, protocol=protocol))


def tensorflow_network(variables: dict[str, Any], **fields: Any) -> Network:
    fields = {"version": 4, "name": "Gs", "static_kwargs": {}, "components": {}, **fields}
    source = "raise RuntimeError('executed')"
    entries = [(name, np.asarray(value)) for name, value in variables.items()]
    return Network({**fields, "build_module_src": source, "build_func_name": "G_main", "variables": entries})


def write_tensorflow(path: Path, variables: dict[str, Any], *, protocol: int = 4, **fields: Any) -> None:
    """``(G, D, Gs)``; ``variables`` carry the prefixes ``mapping/`` and ``synthesis/``."""
    parts: dict[str, dict[str, Any]] = {"": {}, "mapping": {}, "synthesis": {}}
    for name, value in variables.items():
        head, _, rest = name.partition("/")
        if head in ("mapping", "synthesis"):
            parts[head][rest] = value
        else:
            parts[""][name] = value
    components = {name: tensorflow_network(parts[name], name=name) for name in ("mapping", "synthesis")}
    other = tensorflow_network({"4x4/weight": np.zeros((2, 2), np.float32)}, name="D")
    with foreign_modules():
        gs = tensorflow_network(parts[""], components=components, **fields)
        path.write_bytes(pickle.dumps((other, other, gs), protocol=protocol))


def stylegan2_variables(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """TensorFlow's variables for a state dict with NVIDIA's PyTorch names: the table of the format, backwards."""
    result: dict[str, np.ndarray] = {"lod": np.float32(0)}
    for name, tensor in state.items():
        value, parts = tensor.numpy(), name.split(".")
        leaf = parts[-1]
        if leaf == "resample_filter":
            continue
        if name == "mapping.w_avg":
            result["dlatent_avg"] = value
        elif parts[0] == "mapping":
            layer = "LabelEmbed" if parts[1] == "embed" else f"Dense{parts[1][2:]}"
            result[f"mapping/{layer}/{leaf}"] = value.T if leaf == "weight" else value
        elif leaf == "const":
            result["synthesis/4x4/Const/const"] = value[None]
        else:
            r = int(parts[1][1:])
            level = r.bit_length() - 1
            theirs = {"conv0": "Conv0_up", "conv1": "Conv" if r == 4 else "Conv1", "torgb": "ToRGB", "skip": "Skip"}
            head = f"synthesis/{r}x{r}/{theirs[parts[2]]}"
            if leaf == "noise_const":
                index = 0 if r == 4 else 2 * level - (5 if parts[2] == "conv0" else 4)
                result[f"synthesis/noise{index}"] = value[None, None]
            elif parts[3] == "affine":
                result[f"{head}/mod_{leaf}"] = value.T if leaf == "weight" else value - 1
            elif leaf == "weight":
                kernel = value.transpose(2, 3, 1, 0)
                result[f"{head}/weight"] = kernel[::-1, ::-1] if parts[2] in ("conv0", "skip") else kernel
            else:
                result[f"{head}/{leaf}"] = value
    return result


def write_psp(
    path: Path, decoder: dict[str, Any], encoder: dict[str, Any], average: Any, *, plain_opts: bool, **opts: Any
) -> None:
    """A pSp-family checkpoint."""
    state = {f"decoder.{name}": value for name, value in decoder.items()}
    state |= {f"encoder.{name}": value for name, value in encoder.items()}
    options: Any = dict(opts) if plain_opts else Namespace(**opts)
    torch.save({"state_dict": state, "latent_avg": average, "opts": options}, path)
