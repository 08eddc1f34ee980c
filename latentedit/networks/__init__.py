"""Networks as plain modules with typed configs; they know tensors only."""

from __future__ import annotations

from latentedit.networks.config import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from latentedit.networks.discriminator import Discriminator, FeatureDiscriminator, PatchDiscriminator
from latentedit.networks.encoder import Encoder
from latentedit.networks.generator import Generator, fingerprint
from latentedit.networks.mapping import MappingNetwork, mapping_fingerprint
from latentedit.networks.perception import Perception, PerceptionConfig, PerceptionNetwork
from latentedit.networks.protocols import FacePerception, StyleEncoder, StyleGenerator, StyleSynthesis
from latentedit.networks.synthesis import SynthesisNetwork

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Encoder",
    "EncoderConfig",
    "FacePerception",
    "FeatureDiscriminator",
    "Generator",
    "GeneratorConfig",
    "MappingNetwork",
    "PatchDiscriminator",
    "Perception",
    "PerceptionConfig",
    "PerceptionNetwork",
    "StyleEncoder",
    "StyleGenerator",
    "StyleSynthesis",
    "SynthesisNetwork",
    "fingerprint",
    "mapping_fingerprint",
]
