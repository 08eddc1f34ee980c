"""The own format: one network per ``.safetensors`` file, with its configuration as JSON in the string metadata.

Metadata keys: ``format`` ("latentedit"), ``kind`` ("generator", "encoder", "perception", "discriminator"), ``network``
(class name), ``config`` (JSON of the config dataclass), ``fingerprint`` (of the float32 weights as they load),
``digest`` (SHA-256 over all of these and the stored bytes, so that damage is told), and for an encoder ``generator``
(fingerprint of the generator that it inverts), for a generator ``mapping`` (fingerprint of its mapping network, of the
weights before any rounding). Weights may be stored as float16; they are float32 in memory, and the
fingerprint is that of the rounded weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from latentedit.errors import ModelError
from latentedit.files import read_metadata, read_tensors, save_tensors
from latentedit.networks.assembly import NETWORKS, assemble, resolve
from latentedit.networks.config_json import config_from_json

if TYPE_CHECKING:
    from latentedit.networks import PerceptionNetwork, StyleEncoder, StyleGenerator

FORMAT = "latentedit"
_HALF_MAX = 65504.0


def _stored(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    value = value.detach().to("cpu")
    if not value.is_floating_point():
        return value.contiguous()
    value = value.float().contiguous()
    # Vectors and scalars are a thousandth of the bytes and the most sensitive to rounding.
    if dtype == torch.float16 and value.ndim >= 2 and value.numel() and value.abs().max() < _HALF_MAX:
        return value.half()
    return value.clone()


def save_network(
    path: str | os.PathLike[str],
    network: object,
    *,
    dtype: torch.dtype = torch.float32,
    extra: dict[str, str] | None = None,
) -> str:
    """Write ``network`` (any class of ``NETWORKS``) to ``path`` and return its fingerprint as it will load.

    ``dtype`` float16 halves the file: matrices and kernels are rounded, vectors stay float32.

    Raises:
        ModelError: a class that the format does not know, or a dtype other than float32 and float16.
        OutputError: the file cannot be written.
    """
    from latentedit.networks import StyleGenerator, fingerprint
    from latentedit.networks.mapping import mapping_fingerprint

    name = type(network).__name__
    if name not in NETWORKS or not isinstance(network, torch.nn.Module):
        raise ModelError(f"A network of class {name!r} cannot be saved.", f"Known classes: {', '.join(NETWORKS)}.")
    if dtype not in (torch.float32, torch.float16):
        raise ModelError(f"Weights cannot be stored as {dtype}.", "Choose torch.float32 or torch.float16.")
    config: Any = network.config
    stored = {key: _stored(value, dtype) for key, value in network.state_dict().items()}
    digest = fingerprint(assemble(name, config, dict(stored), origin=name))
    shared = {"mapping": mapping_fingerprint(network.mapping)} if isinstance(network, StyleGenerator) else {}
    metadata = {
        "format": FORMAT,
        "kind": NETWORKS[name].kind,
        "network": name,
        "config": json.dumps(dataclasses.asdict(config)),
        "fingerprint": digest,
        **shared,
        **(extra or {}),
    }
    metadata["digest"] = _digest(metadata, stored)
    save_tensors(path, stored, metadata)
    return digest


def _digest(metadata: dict[str, str], state: dict[str, torch.Tensor]) -> str:
    described = {key: value for key, value in metadata.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@overload
def load_network(
    path: str | os.PathLike[str], *, kind: Literal["generator"], device: str | torch.device = "cpu"
) -> StyleGenerator: ...
@overload
def load_network(
    path: str | os.PathLike[str], *, kind: Literal["encoder"], device: str | torch.device = "cpu"
) -> StyleEncoder: ...
@overload
def load_network(
    path: str | os.PathLike[str], *, kind: Literal["perception"], device: str | torch.device = "cpu"
) -> PerceptionNetwork: ...
@overload
def load_network(
    path: str | os.PathLike[str], *, kind: str | None = None, device: str | torch.device = "cpu"
) -> torch.nn.Module: ...
def load_network(
    path: str | os.PathLike[str], *, kind: str | None = None, device: str | torch.device = "cpu"
) -> torch.nn.Module:
    """The network in ``path``: float32, evaluation mode, without gradients, on ``device``.

    Raises:
        ModelError: not a file of the own format, of another ``kind``, or damaged (the digest tells).
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{str(path)!r} is a safetensors file without latentedit's metadata.",
            "Convert the original checkpoint with `latentedit convert`.",
        )
    name = metadata.get("network", "")
    if name not in NETWORKS:
        raise ModelError(
            f"{str(path)!r} holds a network of the unknown class {name!r}.", "It may need a newer latentedit."
        )
    if kind is not None and NETWORKS[name].kind != kind:
        raise ModelError(f"{str(path)!r} holds a network of kind {NETWORKS[name].kind!r}, not {kind!r}.", None)
    state = read_tensors(path)
    if metadata.get("digest") != _digest(metadata, state):
        raise ModelError(
            f"The weights in {str(path)!r} do not match the digest stored with them.",
            "The file is damaged: copy or convert it again.",
        )
    config = config_from_json(
        resolve(NETWORKS[name].config), metadata.get("config", ""), origin=repr(str(path)), tensors=len(state)
    )
    return assemble(name, config, state, origin=repr(str(path))).to(device)
