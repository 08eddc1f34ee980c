"""The StyleGAN2 generator: mapping and synthesis under one roof, and the fingerprint of its weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from latentedit.networks.config import GeneratorConfig
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.protocols import StyleGenerator
from latentedit.networks.synthesis import SynthesisNetwork


class Generator(StyleGenerator):
    """A StyleGAN2 generator whose state dict carries NVIDIA's names (``mapping.fc0.weight``, ``synthesis.b8...``).

    Latents in, images [N, img_channels, R, R] out.
    """

    config: GeneratorConfig
    synthesis: SynthesisNetwork

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.num_ws,
            num_layers=config.mapping_layers,
            embed_features=config.embed_features,
            layer_features=config.mapping_features,
            activation=config.activation,
            lr_multiplier=config.mapping_lr_multiplier,
            w_avg_beta=config.w_avg_beta,
        )
        self.synthesis = SynthesisNetwork(config)  # pyright: ignore[reportIncompatibleVariableOverride]


def fingerprint(module: nn.Module) -> str:
    """Identify weights: 16 hex digits of the SHA-256 over names, shapes, and float32 values, in the order of names.

    Latents and directions carry the fingerprint of the generator they belong to; it is the same for a checkpoint and
    its conversions, since they hold the same tensors under the same names.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("resample_filter"):
            continue
        values = tensor.detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
