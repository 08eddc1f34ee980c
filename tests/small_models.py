"""Small networks that several folders of tests share."""

from __future__ import annotations

from latentedit.networks import GeneratorConfig

CONFIG = GeneratorConfig(resolution=16, z_dim=16, w_dim=24, mapping_layers=2, channel_base=128, channel_max=16)
