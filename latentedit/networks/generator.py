"""The StyleGAN2 generator: mapping and synthesis under one roof, and the fingerprint of its weights."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from latentedit.networks.config import GeneratorConfig
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.synthesis import NoiseMode, SynthesisNetwork


class Generator(nn.Module):
    """A StyleGAN2 generator whose state dict carries NVIDIA's names (``mapping.fc0.weight``, ``synthesis.b8...``).

    It knows nothing of photos, attributes, or files: latents in, images [N, img_channels, R, R] out.
    """

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
        self.synthesis = SynthesisNetwork(config)

    @property
    def z_dim(self) -> int:
        return self.config.z_dim

    @property
    def c_dim(self) -> int:
        return self.config.c_dim

    @property
    def w_dim(self) -> int:
        return self.config.w_dim

    @property
    def num_ws(self) -> int:
        return self.config.num_ws

    @property
    def resolution(self) -> int:
        return self.config.resolution

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
    ) -> Tensor:
        """Sample images [N, img_channels, R, R] from ``z`` [N, z_dim] and labels ``c`` [N, c_dim]."""
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode)


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
