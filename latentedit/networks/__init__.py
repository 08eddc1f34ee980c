"""Networks as plain modules with typed configs; they know tensors only."""

from __future__ import annotations

from latentedit.networks.config import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from latentedit.networks.discriminator import Discriminator
from latentedit.networks.encoder import Encoder
from latentedit.networks.generator import Generator, fingerprint
from latentedit.networks.mapping import MappingNetwork
from latentedit.networks.perception import Perception, PerceptionConfig, PerceptionNetwork
from latentedit.networks.synthesis import SynthesisNetwork

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Encoder",
    "EncoderConfig",
    "Generator",
    "GeneratorConfig",
    "MappingNetwork",
    "Perception",
    "PerceptionConfig",
    "PerceptionNetwork",
    "SynthesisNetwork",
    "fingerprint",
]
