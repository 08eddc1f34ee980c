"""Inversion: from the photo of a face to the latent that renders it."""

from __future__ import annotations

from latentedit.inversion.api import invert
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.descent import Progress
from latentedit.inversion.inversion import Inversion, PhotoReference
from latentedit.inversion.storage import load_latents

__all__ = ["Inversion", "InversionConfig", "PhotoReference", "Progress", "invert", "load_latents"]
