"""Where the parts of a face lie in a crop: against the landmarks of photos, cropped by the same template."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.faces import FFHQ, CropTemplate, align
from latentedit.faces.dataset import TIGHT
from latentedit.faces.regions import face_regions


@pytest.mark.parametrize("size", [16, 64, 256])
@pytest.mark.parametrize("template", [FFHQ, TIGHT, CropTemplate(1.3, 0.0)])
def test_every_pixel_belongs_to_one_part(size: int, template: CropTemplate) -> None:
    masks = face_regions(size, template)
    assert {"eyes", "mouth", "nose"} <= set(masks)
    total = np.stack(list(masks.values())).sum(0)
    assert total.max() == 1
    assert (total == 1).mean() > 0.98, "slivers are left out"


def test_a_tight_crop_has_no_background() -> None:
    assert "background" in face_regions(64)
    assert "background" not in face_regions(64, TIGHT)


@pytest.mark.parametrize("template", [FFHQ, TIGHT])
@pytest.mark.parametrize("name", ["astronaut.png", "portrait_a.jpg", "portrait_b.jpg"])
def test_landmarks_of_photos_lie_in_their_parts(template: CropTemplate, name: str, photos, faces) -> None:
    masks = face_regions(256, template)
    points = align(photos[name], faces[name][0].landmarks, template, 256).crop_landmarks()
    for part, landmarks in {"eyes": slice(36, 48), "mouth": slice(48, 68), "nose": slice(28, 34)}.items():
        x, y = points[landmarks].mean(0) if part != "eyes" else points[36:42].mean(0)
        assert masks[part][round(y), round(x)], (part, x, y)
        column, row = points[landmarks].round().astype(int).T
        assert masks[part][row.clip(0, 255), column.clip(0, 255)].mean() >= 0.5, part
