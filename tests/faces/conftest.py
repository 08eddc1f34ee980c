"""The shipped portraits, decoded and detected once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from latentedit.faces.detect import DetectedFace, detect
from latentedit.images import load_image

PHOTOS = Path(str(files("latentedit.assets"))) / "photos"
NAMES = ("astronaut.png", "portrait_a.jpg", "portrait_b.jpg", "two_people.jpg")


@pytest.fixture(scope="session")
def photos() -> dict[str, Image.Image]:
    return {name: load_image(PHOTOS / name) for name in NAMES}


@pytest.fixture(scope="session")
def faces(photos: dict[str, Image.Image]) -> dict[str, list[DetectedFace]]:
    return {name: detect(photo) for name, photo in photos.items()}
