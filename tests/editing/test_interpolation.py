"""`interpolate`: paths through faces, and films of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentedit.editing import edit, interpolate
from latentedit.editing.timeline import along
from latentedit.errors import LatentError
from latentedit.inversion import Inversion
from latentedit.latents import seed_z
from latentedit.models import Model


def test_once_starts_and_ends_at_the_faces(model: Model, ws: Tensor) -> None:
    film = interpolate(ws, frames=9, loop=False, model=model, easing="linear")
    torch.testing.assert_close(film.ws[[0, 4, 8]], ws)
    torch.testing.assert_close(film.ws[2], (ws[0] + ws[1]) / 2)


@pytest.mark.parametrize("curve", ["linear", "cubic"])
def test_loops_are_seamless(model: Model, ws: Tensor, curve: str) -> None:
    """From the last frame to the first is one step like all others, and no frame is shown twice."""
    film = interpolate(ws, frames=60, curve=curve, easing="linear", model=model)
    torch.testing.assert_close(film.ws[[0, 20, 40]], ws, atol=1e-5, rtol=1e-5)
    steps = torch.linalg.vector_norm((film.ws - film.ws.roll(1, 0)).flatten(1), dim=1)
    neighbours = steps[[1, -1]]
    assert float(steps[0]) == pytest.approx(float(neighbours.mean()), rel=0.25)
    assert float(steps.min()) > 0


def test_an_easing_may_be_a_function(model: Model, ws: Tensor) -> None:
    film = interpolate(ws[:2], frames=3, loop=False, easing=lambda t: t**2, model=model)
    torch.testing.assert_close(film.ws[1], torch.lerp(ws[0], ws[1], 0.25))


def test_seeds_in_w_and_in_z(model: Model) -> None:
    mapping = model.generator.mapping
    faces = mapping(seed_z([4, 9], 16), truncation_psi=0.5)
    film = interpolate([4, 9], frames=5, loop=False, truncation_psi=0.5, model=model)
    torch.testing.assert_close(film.ws[[0, 4]], faces)
    film = interpolate([4, 9], frames=5, loop=False, space="z", truncation_psi=0.5, model=model)
    torch.testing.assert_close(film.ws[[0, 4]], faces)
    middle = along(seed_z([4, 9], 16), np.array([0.5]), curve="slerp")
    torch.testing.assert_close(film.ws[2:3], mapping(middle, truncation_psi=0.5))


def test_key_faces_show_themselves_with_their_noise(
    model: Model, ws: Tensor, inversion: Inversion, make_inversion, make_photo
) -> None:
    other = make_inversion(model, ws[1:2], make_photo(), (70, 60, 16), seed=1)
    film = interpolate([inversion, other], frames=5, loop=False, model=model)
    for frame, face in ((0, inversion), (4, other)):
        difference = np.asarray(film.frames[frame]).astype(int) - np.asarray(face.image)
        assert np.abs(difference).max() <= 1  # rendered in a batch
    assert len(film) == len(film.frames) == 5


def test_faces_of_every_kind_in_one_film(model: Model, ws: Tensor, inversion: Inversion) -> None:
    older = edit(inversion, model=model, distance={"age": 1})
    film = interpolate([inversion, older, ws[2:3], 7], frames=8, model=model)
    torch.testing.assert_close(film.ws[0], inversion.ws[0])
    torch.testing.assert_close(film.ws[2], older.ws[0])
    torch.testing.assert_close(film.ws[4], ws[2])
    assert len(film.frames) == 8


def test_render_reports_progress_and_batches_do_not_matter(model: Model, ws: Tensor) -> None:
    film = interpolate(ws, frames=7, model=model)
    counted: list[int] = []
    frames = film.render(counted.append, batch=3)
    assert sum(counted) == 7
    for one, two in zip(frames, film.frames, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(two)).max() <= 1


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_same_seed_same_bytes(model: Model, tmp_path: Path, suffix: str) -> None:
    paths = [
        interpolate([1, 2], frames=6, model=model).save(tmp_path / f"{name}{suffix}", fps=12, size=64) for name in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size > 500


def test_loop_is_written_into_the_gif(model: Model, tmp_path: Path) -> None:
    once = interpolate([1, 2], frames=4, loop=False, model=model).save(tmp_path / "once.gif")
    again = interpolate([1, 2], frames=4, model=model).save(tmp_path / "loop.gif")
    with Image.open(once) as film:
        assert "loop" not in film.info
    with Image.open(again) as film:
        assert film.info["loop"] == 0


def test_errors(model: Model, ws: Tensor) -> None:
    with pytest.raises(LatentError, match="at least two faces"):
        interpolate(ws[:1], model=model)
    with pytest.raises(LatentError, match="0 frames over 3 key frames"):
        interpolate(ws, frames=0, model=model)
    with pytest.raises(LatentError, match=r"Easing 'bouncy' is unknown\. Choose one of linear, smooth"):
        interpolate(ws, easing="bouncy", model=model)
    with pytest.raises(LatentError, match="Curve 'round' is unknown"):
        _ = interpolate(ws, curve="round", model=model).ws
    with pytest.raises(LatentError, match="space='x' is unknown"):
        interpolate(ws, space="x", model=model)
    with pytest.raises(LatentError, match=r"Give finite z \[K, 16\], or seeds"):
        interpolate(torch.zeros(2, 5), space="z", model=model)
