"""The own format: one network per ``.safetensors`` file, with its configuration as JSON in the string metadata.

Metadata keys: ``format`` ("latentedit"), ``kind`` ("generator", "encoder", "perception", "discriminator"), ``network``
(class name), ``config`` (JSON of the config dataclass), ``fingerprint`` (of the float32 weights as they load),
``digest`` (SHA-256 over all of these and the stored bytes, so that damage is told), and for an encoder ``generator``
(fingerprint of the generator that it inverts). Weights may be stored as float16; they are float32 in memory, and the
fingerprint is that of the rounded weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from latentedit.checkpoints.configs import config_from_json
from latentedit.errors import ModelError
from latentedit.files import save_tensors

FORMAT = "latentedit"
_HALF_MAX = 65504.0


class NetworkKind(NamedTuple):
    """Where a network class and its config class live; looked up when a file names them, so loading stays lazy."""

    kind: str
    network: str
    config: str


NETWORKS: dict[str, NetworkKind] = {
    "Generator": NetworkKind("generator", "networks.generator:Generator", "networks.config:GeneratorConfig"),
    "StyleGAN1Generator": NetworkKind(
        "generator", "networks.stylegan1:StyleGAN1Generator", "networks.stylegan1:StyleGAN1Config"
    ),
    "StyleGAN3Generator": NetworkKind(
        "generator", "networks.stylegan3:StyleGAN3Generator", "networks.stylegan3:StyleGAN3Config"
    ),
    "Discriminator": NetworkKind(
        "discriminator", "networks.discriminator:Discriminator", "networks.config:DiscriminatorConfig"
    ),
    "Encoder": NetworkKind("encoder", "networks.encoder:Encoder", "networks.config:EncoderConfig"),
    "PspEncoder": NetworkKind("encoder", "networks.psp_encoder:PspEncoder", "networks.psp_encoder:PspEncoderConfig"),
    "PerceptionNetwork": NetworkKind(
        "perception", "networks.perception:PerceptionNetwork", "networks.perception:PerceptionConfig"
    ),
}


def _resolve(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"latentedit.{module}"), name)


def build(network: str, config: Any) -> torch.nn.Module:
    """A network of class ``network`` without memory behind its weights (they sit on the meta device)."""
    with torch.device("meta"):
        return _resolve(NETWORKS[network].network)(config)


def assemble(network: str, config: Any, state: dict[str, torch.Tensor], *, origin: str) -> torch.nn.Module:
    """The network with ``state`` as its weights: float32, in evaluation mode, without gradients.

    Names and shapes are compared before any weight is allocated, so that a hostile configuration costs no memory.

    Raises:
        ModelError: names or shapes differ from those of the configuration (the first few are named), or values are
            not finite.
    """
    skeleton = build(network, config)
    expected = skeleton.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in expected]
    problems += [
        f"{name} has shape {list(state[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"The weights in {origin} do not fit the network: {'; '.join(problems[:3])}{more}.",
            "The file is damaged or of a variant that is not supported.",
        )
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(f"{broken[0]} in {origin} holds values that are not finite.", "The file is damaged.")
    skeleton.load_state_dict(state, assign=True)
    leftover = any(tensor.is_meta for tensor in [*skeleton.parameters(), *skeleton.buffers()])
    if leftover:  # buffers outside the state dict, computed by the constructor
        skeleton = _resolve(NETWORKS[network].network)(config)
        skeleton.load_state_dict(state)
    return skeleton.eval().requires_grad_(False)


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
    network: torch.nn.Module,
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
    from latentedit.networks import fingerprint

    name = type(network).__name__
    if name not in NETWORKS:
        raise ModelError(f"A network of class {name!r} cannot be saved.", f"Known classes: {', '.join(NETWORKS)}.")
    if dtype not in (torch.float32, torch.float16):
        raise ModelError(f"Weights cannot be stored as {dtype}.", "Choose torch.float32 or torch.float16.")
    config: Any = network.config
    stored = {key: _stored(value, dtype) for key, value in network.state_dict().items()}
    digest = fingerprint(assemble(name, config, dict(stored), origin=name))
    metadata = {
        "format": FORMAT,
        "kind": NETWORKS[name].kind,
        "network": name,
        "config": json.dumps(dataclasses.asdict(config)),
        "fingerprint": digest,
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


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The string metadata of a ``.safetensors`` file; empty where there is none.

    Raises:
        ModelError: the file is missing, or no intact safetensors file.
    """
    try:
        with safe_open(path, "pt") as archive:
            return dict(archive.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """All tensors of a ``.safetensors`` file, with the dtypes that they were stored in, on the CPU."""
    try:
        with safe_open(path, "pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error


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
        _resolve(NETWORKS[name].config), metadata.get("config", ""), origin=repr(str(path)), tensors=len(state)
    )
    return assemble(name, config, state, origin=repr(str(path))).to(device)


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ModelError:
    if not Path(path).is_file():
        return ModelError(f"There is no file {str(path)!r}.", "Check the path.")
    return ModelError(f"{str(path)!r} is not an intact safetensors file: {error}.", "Copy or download it again.")
