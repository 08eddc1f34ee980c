"""Where the parts of a face lie in an aligned crop: averages, for saying in words where a picture changed.

Legend: ``R`` pixels along a side of the crop.
"""

from __future__ import annotations

import numpy as np

from latentedit.faces.template import FFHQ, CropTemplate

EYE_TO_MOUTH = 0.27
"""Length from the eyes' middle to the mouth, as a share of the side of an FFHQ crop. The crop's half-side is 1.8 such
lengths (0.278) or two eye distances, whichever is longer."""

_SMALLEST = 0.004  # of the crop's area: less is left out

# Centre and half-axes in an FFHQ crop from (0, 0) at the top left to (1, 1); the eyes stand at y = 0.473, a quarter of
# the side apart, as the crop's recipe has it; the rest was set where the mean of samples shows it, of a 64 px and of a
# 1024 px generator. What comes first lies above what comes later.
_ELLIPSES: tuple[tuple[str, tuple[tuple[float, float, float, float], ...]], ...] = (
    ("eyes", ((0.375, 0.473, 0.075, 0.04), (0.625, 0.473, 0.075, 0.04))),
    ("brows", ((0.37, 0.41, 0.1, 0.035), (0.63, 0.41, 0.1, 0.035))),
    ("mouth", ((0.5, 0.73, 0.13, 0.07),)),
    ("nose", ((0.5, 0.585, 0.065, 0.1),)),
    ("chin", ((0.5, 0.835, 0.15, 0.07),)),
    ("forehead", ((0.5, 0.315, 0.2, 0.085),)),
    ("cheeks", ((0.345, 0.63, 0.105, 0.13), (0.655, 0.63, 0.105, 0.13))),
    ("face", ((0.5, 0.56, 0.26, 0.35),)),
    ("hair", ((0.5, 0.42, 0.42, 0.42),)),
)


def face_regions(size: int, template: CropTemplate = FFHQ) -> dict[str, np.ndarray]:
    """Boolean masks [R,R] by name: eyes, brows, nose, mouth, chin, forehead, cheeks, the rest of the face, hair, neck,
    background. Each pixel belongs to one; those that the crop hardly shows are left out.

    They are those of the average frontal face in a crop of ``template``, not of any particular one.
    """
    centre_y = 0.5 + template.shift * EYE_TO_MOUTH
    grid = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(0.5 + grid * template.scale, centre_y + grid * template.scale)
    taken = np.zeros((size, size), bool)
    found: dict[str, np.ndarray] = {}
    for name, ellipses in _ELLIPSES:
        inside = np.zeros_like(taken)
        for cx, cy, rx, ry in ellipses:
            inside |= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        if name == "hair":
            inside &= y < 0.75
        found[name] = inside & ~taken
        taken |= inside
    below = ~taken & (y >= 0.75) & (np.abs(x - 0.5) < 0.35)
    found["neck"] = below
    found["background"] = ~taken & ~below
    return {name: mask for name, mask in found.items() if mask.mean() >= _SMALLEST}
