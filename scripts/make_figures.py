"""The README's picture, from a folder that `latentedit demo` wrote: ``python scripts/make_figures.py demo docs``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from latentedit import Inversion
from latentedit.images import load_image, save_image
from latentedit.media import contact_sheet

TITLES = {"aged": "15 years older", "smile": "smile changed", "eyeglasses": "glasses"}
MARGIN = 0.45  # of the crop's side, around it
CELL = 220  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="a folder that `latentedit demo` wrote")
    parser.add_argument("docs", type=Path, help="the folder of the picture")
    arguments = parser.parse_args()
    save_image(edits(arguments.demo), arguments.docs / "edits.png")


def edits(demo: Path) -> Image.Image:
    """The head in the photo, and in each edited photo, at the photo's resolution."""
    inversion = Inversion.load(demo / "inversion.safetensors")
    assert inversion.aligned is not None, "the demo inverted a crop, not a photo"
    assert inversion.photo is not None, "the inversion kept no photo"
    names = [name for name in TITLES if (demo / f"photo_{name}.png").is_file()]
    pictures = [load_image(demo / f"photo_{name}.png") for name in names]
    photo = inversion.photo.open()
    box = head(inversion.aligned.quad, photo.size)
    return contact_sheet(
        [picture.crop(box) for picture in (photo, *pictures)],
        columns=["photo", *(TITLES[name] for name in names)],
        cell=CELL,
    )


def head(quad: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around the crop's ``quad`` [4,2] (photo pixels), inside a photo of ``size``."""
    centre = quad.mean(axis=0)
    side = float(np.linalg.norm(quad[2] - quad[1]))
    half = min(side * (0.5 + MARGIN), *(min(centre[i], size[i] - centre[i]) for i in (0, 1)))
    left, top, right, bottom = (*(centre - half), *(centre + half))
    return round(left), round(top), round(right), round(bottom)


if __name__ == "__main__":
    main()
