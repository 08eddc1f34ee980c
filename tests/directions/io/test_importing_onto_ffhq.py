"""Directions and latents as published for StyleGAN2-FFHQ at 1024 px fit its mobile student: same W, same 18 rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from array_files import write

from latentedit.directions import import_directions
from latentedit.editing import edit
from latentedit.editing.subject import read_latents
from latentedit.models import load_generator
from latentedit.models.locations import package_folder
from latentedit.networks import Generator, GeneratorConfig, mapping_fingerprint
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileStyleGANGenerator

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((1, 512)) / 512**0.5
ROWS = RNG.standard_normal((18, 512))


@pytest.fixture(scope="module")
def student() -> MobileStyleGANGenerator:
    """All rows and sizes of the real one, of few channels."""
    torch.manual_seed(0)
    made = MobileStyleGANGenerator(MobileStyleGANConfig(channels=(8,) * 8, mapping_layers=2))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize(
    ("array", "shape"),
    [(NORMAL, (512,)), (NORMAL[0], (512,)), (ROWS, (18, 512)), (ROWS[None], (18, 512))],
    ids=["InterFaceGAN boundary", "vector", "rows", "rows with a batch"],
)
def test_published_shapes(
    student: MobileStyleGANGenerator, array: np.ndarray, shape: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"smile{suffix}", array if suffix == ".npy" else torch.from_numpy(array))
    direction = import_directions(path, student)["smile"]
    assert tuple(direction.normal.shape) == shape
    ws = student.mapping(torch.randn(1, 512))
    edited = edit(ws, generator=student, distance={"smile": 2.0}, directions={"smile": direction})
    moved = (edited.ws - ws)[0]
    expected = torch.from_numpy(np.broadcast_to(array.reshape(-1, 512), (18, 512)).copy()).float()
    torch.testing.assert_close(moved / moved.norm(), expected / expected.norm(), rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not torch.equal(student.synthesis(edited.ws), student.synthesis(ws))


@pytest.mark.parametrize("name", ["projected_w.npz", "latents.npy", "latents.pt"])
def test_published_latents(student: MobileStyleGANGenerator, name: str, tmp_path: Path) -> None:
    ws = RNG.standard_normal((1, 18, 512)).astype(np.float32)
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, w=ws)
    elif name.endswith(".npy"):
        np.save(path, ws)
    else:
        torch.save(torch.from_numpy(ws), path)
    read = read_latents(path)
    assert torch.equal(read, torch.from_numpy(ws))
    with torch.no_grad():
        assert student.synthesis(read).shape == (1, 3, 1024, 1024)


def test_teacher_and_student_share_w_and_its_rows(student: MobileStyleGANGenerator) -> None:
    teacher = Generator(GeneratorConfig(resolution=1024, mapping_layers=2, channel_base=1024, channel_max=4))
    assert mapping_fingerprint(teacher.mapping) != mapping_fingerprint(student.mapping)
    teacher.mapping.load_state_dict(student.mapping.state_dict())
    assert mapping_fingerprint(teacher.mapping) == mapping_fingerprint(student.mapping)
    assert teacher.synthesis.layer_resolutions == student.synthesis.layer_resolutions


@pytest.mark.skipif(package_folder() is None, reason="random-face is not installed")
def test_a_boundary_moves_the_real_one(tmp_path: Path) -> None:
    generator = load_generator("ffhq")
    direction = import_directions(write(tmp_path / "age.npy", NORMAL), generator)["age"]
    ws = generator.mapping(torch.from_numpy(np.random.RandomState(85).randn(1, 512)).float(), truncation_psi=0.7)
    moved = edit(ws, generator=generator, distance={"age": 3.0}, directions={"age": direction}, layers="coarse")
    with torch.no_grad():
        images = [generator.synthesis(value, resolution=64) for value in (ws, moved.ws)]
    assert torch.equal(moved.ws[:, 4:], ws[:, 4:])
    assert (images[0] - images[1]).abs().mean() > 0.02
