"""dlib's face chips of many crops at once, differentiable, for dlib's network in PyTorch.

Legend: ``N`` crops, ``R`` their side.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.faces.dlib_models import load_dlib
from latentedit.training.face_teacher import CHIP

_PADDING = 0.25
_FINE = 16  # dlib takes whole pixels for landmarks


def chip_frames(landmarks: np.ndarray, side: int) -> Tensor:
    """Affine frames [N,2,3] (as of `torch.nn.functional.affine_grid`) of the chips that dlib would cut by
    ``landmarks`` [N,68,2] in pixels of crops of ``side``; NaN landmarks give the mean frame of the others.
    """
    frames = np.full((len(landmarks), 2, 3), np.nan)
    dlib = load_dlib()
    for row, points in enumerate(landmarks):
        if not np.isfinite(points).all():
            continue
        fine = [dlib.point(round(float(x)), round(float(y))) for x, y in (points + 0.5) * _FINE]
        shape = dlib.full_object_detection(dlib.rectangle(0, 0, side * _FINE, side * _FINE), fine)
        details = dlib.get_face_chip_details(shape, CHIP, _PADDING)
        cos, sin = np.cos(details.angle), np.sin(details.angle)
        reach = details.rect.width() / (side * _FINE)
        centre = np.array([details.rect.center().x, details.rect.center().y]) / (side * _FINE) * 2 - 1
        frames[row, :, :2] = reach * np.array([[cos, -sin], [sin, cos]])
        frames[row, :, 2] = centre
    known = np.isfinite(frames).all(axis=(1, 2))
    usual = frames[known].mean(axis=0) if known.any() else np.array([[0.62, 0, 0], [0, 0.62, 0.12]])
    frames[~known] = usual
    return torch.from_numpy(frames).float()


def chips(crops: Tensor, frames: Tensor) -> Tensor:
    """Chips [N,3,150,150] in [0,255] of crops [N,3,R,R] in [-1,1]; averaged where the crop has more pixels."""
    size = [len(crops), 3, CHIP, CHIP]
    grid = F.affine_grid(frames.to(crops.device), size, align_corners=False)
    cut = F.grid_sample(crops.float(), grid, padding_mode="reflection", align_corners=False)
    return (cut.clamp(-1, 1) + 1) * 127.5
