"""Codes: latents with what belongs to them, and their pictures."""

from __future__ import annotations

from latentedit.codes.code import Code
from latentedit.codes.delta import WeightDelta

__all__ = ["Code", "WeightDelta"]
