"""``latentedit demo``: everything the library does, on one photo, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, device_option, model_option, outdir_option, seed_option
from latentedit.cli._faces import FACE_FILE, open_faces, open_model, steps_option, write_json

if TYPE_CHECKING:
    from PIL import Image

    from latentedit.directions import Direction
    from latentedit.inversion import Inversion
    from latentedit.models import Model

SHIPPED = ("portrait_a.jpg", "portrait_b.jpg")
FPS = 25.0
FILM_WIDTH = 256


@click.command(cls=Command)
@click.option("--photo", type=FACE_FILE, help="Your photo.  [default: a shipped portrait in the public domain]")
@click.option("--other", type=FACE_FILE, help="The face to mix with and to film the way to.  [default: a shipped one]")
@click.option("--frames", type=click.IntRange(4, 600), default=50, show_default=True, help="Frames of each film.")
@steps_option
@seed_option
@model_option
@device_option
@outdir_option("demo")
def command(
    photo: Path | None,
    other: Path | None,
    frames: int,
    steps: int | None,
    seed: int,
    model: str | None,
    device: str,
    outdir: Path,
) -> None:
    """Align, invert, edit, mix and animate a photo; write everything into a folder."""
    loaded = open_model(model, device)
    with ExitStack() as stack:
        shipped = [stack.enter_context(as_file(files("latentedit.assets") / "photos" / name)) for name in SHIPPED]
        paths = [photo or shipped[0], other or shipped[1]]
        (face,), (second,) = open_faces(paths, loaded, steps=steps, seed=seed)
        demo = Demo(loaded, face, second, outdir, frames)
        for path, what in demo.steps():
            click.echo(f"{path}  {what}")


@dataclass
class Demo:
    """The pieces of the demo; each writes files and says what they show."""

    model: Model
    face: Inversion
    other: Inversion
    folder: Path
    frames: int
    metrics: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> Iterator[tuple[Path, str]]:
        """Make everything, in order; yields each file when it is written, with what it shows."""
        parts: list[Callable[[], Iterator[tuple[Path, str]]]] = [
            self.inversion, self.edits, self.strengths, self.mixing, self.films, self.summary,
        ]  # fmt: skip
        for part in parts:
            yield from part()

    def inversion(self) -> Iterator[tuple[Path, str]]:
        """The crop and its inversion."""
        from latentedit.media import contact_sheet

        yield self._picture(self.face.target, "aligned.png"), "the face, cut out as the generator expects it"
        sheet = contact_sheet([self.face.target, self.face.image], columns=["photo", "inverted"], cell=256)
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.face.metrics.items())
        yield self._picture(sheet, "inverted.png"), f"the face beside its inversion ({figures})"
        self.face.save(self.folder / "inversion.safetensors")
        self.metrics["inversion"] = dict(self.face.metrics)
        yield self.folder / "inversion.safetensors", "its latent: what `latentedit edit` takes"

    def edits(self) -> Iterator[tuple[Path, str]]:
        """Each edit as a crop, and in the photo at its own resolution."""
        from latentedit.editing import edit

        for name, asked, what in self._wanted():
            edited = edit(self.face, model=self.model, **asked)
            yield self._picture(edited.image, f"{name}.png"), f"{what}: the generator's picture"
            pasted = edited.paste_back()
            yield self._picture(pasted, f"photo_{name}.png"), f"{what}: the whole photo, {pasted.width}x{pasted.height}"
            if self.model.perception is not None:
                self.metrics[name] = edited.metrics

    def strengths(self) -> Iterator[tuple[Path, str]]:
        """Every direction from -3 to +3, in its own units of distance."""
        from latentedit.editing import edit
        from latentedit.media import contact_sheet

        names = self._directions()
        if not names:
            return
        shares = (-3, -2, -1, 0, 1, 2, 3)
        rows = [
            edit(self.face, model=self.model, distance={name: [share * unit for share in shares]}).images
            for name, unit in names.items()
        ]
        sheet = contact_sheet(rows, list(names), [f"{share:+d}" if share else "0" for share in shares], cell=128)
        yield self._picture(sheet, "strengths.png"), "every direction of the model, from weak to strong"

    def mixing(self) -> Iterator[tuple[Path, str]]:
        """Style mixing with the other portrait."""
        from latentedit.cli.mix import mix_sheet

        sheet = mix_sheet(self.face, self.other, self.model, cell=160)
        yield self._picture(sheet, "mix.png"), "layers of another portrait mixed in: coarse, middle, fine, all"

    def films(self) -> Iterator[tuple[Path, str]]:
        """The way to the other portrait and back, and the same person growing older."""
        from latentedit.editing import edit, interpolate

        morph = interpolate([self.face, self.other], frames=self.frames, model=self.model)
        yield self._film(morph, "morph.gif"), "from one portrait to the other and back"
        if "age" in self._known():
            ages = edit([self.face] * 2, model=self.model, age=[-15, 20])
            young, old = ages.subject.take([0]), ages.subject.take([1])
            sweep = interpolate([self.face, old, self.face, young], frames=self.frames, model=self.model)
            yield self._film(sweep, "age.gif"), "the same person, older and younger"

    def summary(self) -> Iterator[tuple[Path, str]]:
        """What was measured."""
        write_json(self.metrics, self.folder / "metrics.json")
        yield self.folder / "metrics.json", "what was measured: identity, what was asked for, and everything else"

    def _wanted(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        known = self._known()
        if "age" in known:
            yield "aged", {"age": 15.0}, "15 years older"
        if "smile" in known:
            smiles = self.model.perception is not None and self._score("smile") > 0.5
            yield "smile", {"smile": 0.1 if smiles else 0.9}, "smiling no more" if smiles else "smiling"
        if "eyeglasses" in known:
            yield "eyeglasses", {"eyeglasses": 1.0}, "with glasses"

    def _score(self, name: str) -> float:
        import torch

        from latentedit.images import to_tensor

        with torch.no_grad():
            seen = self.model.require("perception").perceive(to_tensor(self.face.image).to(self.model.device))
            return float(seen[name])

    def _known(self) -> dict[str, Direction]:
        from latentedit.directions import list_directions, load_direction

        return {name: load_direction(path, self.model) for name, path in list_directions(self.model).items()}

    def _directions(self) -> dict[str, float]:
        """A step of each direction such that three of them cover what was measured of it."""
        steps = {}
        for name, direction in self._known().items():
            calibration = direction.calibration
            spread = 3.0 if calibration is None else (calibration.distances[-1] - calibration.distances[0]) / 2
            steps[name] = spread / 3
        return steps

    def _picture(self, image: Image.Image, name: str) -> Path:
        from latentedit.images import save_image

        save_image(image, self.folder / name)
        return self.folder / name

    def _film(self, film: Any, name: str) -> Path:
        return film.save(self.folder / name, fps=FPS, size=max(FILM_WIDTH, self.model.resolution))
