"""Networks from the name of their class, their config and their weights, with names and shapes checked first."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch

from latentedit.errors import ModelError
from latentedit.networks.protocols import StyleGenerator


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
    "MobileStyleGANGenerator": NetworkKind(
        "generator", "networks.mobilestylegan:MobileStyleGANGenerator", "networks.mobilestylegan:MobileStyleGANConfig"
    ),
    "Discriminator": NetworkKind(
        "discriminator", "networks.discriminator:Discriminator", "networks.config:DiscriminatorConfig"
    ),
    "Encoder": NetworkKind("encoder", "networks.encoder:Encoder", "networks.config:EncoderConfig"),
    "TrunkEncoder": NetworkKind(
        "encoder", "networks.trunk_encoder:TrunkEncoder", "networks.trunk_encoder:TrunkEncoderConfig"
    ),
    "SmallHeads": NetworkKind("heads", "networks.small_heads:SmallHeads", "networks.small_heads:SmallHeadsConfig"),
    "PspEncoder": NetworkKind("encoder", "networks.psp_encoder:PspEncoder", "networks.psp_encoder:PspEncoderConfig"),
    "PerceptionNetwork": NetworkKind(
        "perception", "networks.perception:PerceptionNetwork", "networks.perception:PerceptionConfig"
    ),
}


def resolve(reference: str) -> Any:
    """The class behind ``"module:Class"``, a path below the package."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"latentedit.{module}"), name)


def build(network: str, config: Any) -> torch.nn.Module:
    """A network of class ``network`` without memory behind its weights (they sit on the meta device)."""
    with torch.device("meta"):
        return resolve(NETWORKS[network].network)(config)


def assemble_generator(network: str, config: Any, state: dict[str, torch.Tensor], *, origin: str) -> StyleGenerator:
    """As `assemble`, for the kind "generator"."""
    made = assemble(network, config, state, origin=origin)
    if not isinstance(made, StyleGenerator):
        raise ModelError(f"{origin} holds a network of class {network!r}, which is no generator.", None)
    return made


def assemble(network: str, config: Any, state: dict[str, torch.Tensor], *, origin: str) -> torch.nn.Module:
    """The network with ``state`` as its weights: float32, in evaluation mode, without gradients.

    Names and shapes are compared before any weight is allocated, so that a hostile configuration costs no memory.

    Raises:
        ModelError: names or shapes differ from those of the configuration (the first few are named), or values are
            not finite.
    """
    kind = NETWORKS[network].kind
    if kind == "generator" and config.img_channels not in (1, 3):
        raise ModelError(
            f"The generator in {origin} draws {config.img_channels} channels, such as colour with transparency.",
            "Only generators of colour or of grey pictures are supported.",
        )
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
        skeleton = resolve(NETWORKS[network].network)(config)
        skeleton.load_state_dict(state)
    return skeleton.eval().requires_grad_(False)
