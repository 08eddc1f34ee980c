"""How an encoder's rendered pictures are compared with those that went in: perceptual distance and dlib's identity."""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.networks.lpips import Backbone, load_perceptual
from latentedit.training.encoding.chips import chips
from latentedit.training.encoding.trainer import Compare
from latentedit.training.face_teacher import DlibFaceNetwork


def comparison(*, backbone: Backbone = "alex", device: str | torch.device = "cpu") -> Compare:
    """The distances ``perceptual`` (LPIPS) and ``identity`` (dlib's network) of pictures.

    Both are trained with, so that neither can be the only judge of the result.

    Raises:
        MissingExtraError: stlpips-pytorch is not installed.
    """
    lpips = load_perceptual(backbone).to(device)
    face = DlibFaceNetwork(dtype=torch.bfloat16).to(device)

    def compare(rendered: Tensor, wanted: Tensor, frames: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = lpips.features(wanted)
            person = face(chips(wanted, frames))
        judged = face(chips(rendered, frames)) - person
        return {
            "perceptual": lpips.compare(lpips.features(rendered), seen),
            "identity": judged.square().sum(dim=1).add(1e-6).sqrt(),
        }

    return compare
