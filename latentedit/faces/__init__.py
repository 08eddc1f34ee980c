"""Faces in photos: detection and landmarks, aligned crops, pasting edited crops back, and drawn masks."""

from __future__ import annotations

from latentedit.faces.align import AlignedFace, align, align_photo
from latentedit.faces.detect import DetectedFace, detect
from latentedit.faces.paste import paste_back
from latentedit.faces.template import FFHQ, CropTemplate

__all__ = ["FFHQ", "AlignedFace", "CropTemplate", "DetectedFace", "align", "align_photo", "detect", "paste_back"]
