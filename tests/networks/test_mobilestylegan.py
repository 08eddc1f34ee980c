"""MobileStyleGAN against numbers of OpenVINO, which ran the published file in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentedit.models import load_generator
from latentedit.models.packaged import package_folder

GOLDEN = Path(__file__).parent.parent / "golden" / "mobilestylegan_ffhq_1024.npz"


@pytest.mark.skipif(package_folder() is None, reason="random-face is not installed")
def test_golden_images() -> None:
    golden = np.load(GOLDEN)
    generator = load_generator("ffhq")
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(golden["z"]))
        image = generator.synthesis(ws)
    np.testing.assert_allclose(ws[:, 0], golden["w"], atol=1e-4)
    parts = {
        "image_mean_8x8": F.avg_pool2d(image, 8),
        "patch_eyes": image[:, :, 440:504, 340:468],
        "patch_corner": image[:, :, :32, :32],
        "patch_end": image[:, :, -32:, -32:],
    }
    for name, part in parts.items():
        difference = np.abs(part.numpy() - golden[name])
        assert difference.max() < 1e-3
        assert difference.mean() < 1e-4
