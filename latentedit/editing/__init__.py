"""Editing: arithmetic on latents, and everything that shows what came of it."""

from __future__ import annotations

from latentedit.editing.edits import edit
from latentedit.editing.interpolation import Interpolation, interpolate
from latentedit.editing.mixing import mix
from latentedit.editing.result import Edit
from latentedit.editing.subject import Subject

__all__ = ["Edit", "Interpolation", "Subject", "edit", "interpolate", "mix"]
