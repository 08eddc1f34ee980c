"""Where a generator expects the face: the quad of the FFHQ recipe, scaled and moved.

Points are ``(x, y)`` in pixel indices of the photo: the centre of the top left pixel is ``(0, 0)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latentedit.errors import FaceError


@dataclass(frozen=True)
class CropTemplate:
    """A crop relative to the FFHQ one (Karras et al. 2019, arXiv:1812.04948, appendix A).

    ``scale`` multiplies the half-side of the quad, ``shift`` moves its centre down by that many eye-to-mouth lengths.
    The default is the FFHQ crop itself. The template belongs to a model: it crops photos as its training photos were.
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.shift)):
            raise FaceError(
                f"A crop template of scale {self.scale} and shift {self.shift} is no crop.", "Give a scale above 0."
            )

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropTemplate:
        """The inverse of :meth:`to_dict`."""
        return cls(scale=float(values.get("scale", 1.0)), shift=float(values.get("shift", 0.0)))

    def quad(self, landmarks: np.ndarray) -> np.ndarray:
        """The crop's corners ``[4,2]`` in photo pixels, in the order top left, bottom left, bottom right, top right.

        With the eyes' centres averaged to ``e``, the eye-to-eye vector ``h`` and the eye-to-mouth vector ``v``, the
        half-axis is ``x = (h - rot90(v))`` scaled to length ``scale * max(2 |h|, 1.8 |v|)``, the other half-axis is
        ``x`` turned by 90 degrees, and the centre is ``e + (0.1 + shift) v``.

        Args:
            landmarks: the 68 points of the iBUG scheme ``[68,2]``.

        Raises:
            FaceError: another shape, or points so close that they give no crop.
        """
        points = np.asarray(landmarks, dtype=np.float64)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise FaceError(f"Landmarks of shape {points.shape} give no crop.", "Give finite points [68,2].")
        left_eye, right_eye = points[36:42].mean(0), points[42:48].mean(0)
        eyes = (left_eye + right_eye) / 2
        across = right_eye - left_eye
        down = (points[48] + points[54]) / 2 - eyes
        x = across + np.array([down[1], -down[0]])
        length = np.hypot(*x)
        if length < 1e-6:
            raise FaceError("The landmarks coincide, so they give no crop.", "Give the landmarks of one upright face.")
        x *= self.scale * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / length
        y = np.array([-x[1], x[0]])
        centre = eyes + (0.1 + self.shift) * down
        return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


FFHQ = CropTemplate()
"""The crop of FFHQ and of every generator trained on it."""


def side_length(quad: np.ndarray) -> float:
    """Side of the square ``quad`` [4,2] in photo pixels."""
    return float(np.hypot(*(quad[3] - quad[0])))


def overshoot(quad: np.ndarray, size: tuple[int, int]) -> float:
    """How far ``quad`` leaves a photo of ``size`` (width, height) at its worst corner, as a share of its side."""
    limits = np.array(size, dtype=np.float64) - 0.5
    outside = np.maximum(-0.5 - quad, quad - limits).max()
    return max(0.0, float(outside)) / side_length(quad)
