"""dlib's face recognition network in PyTorch against dlib's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.errors import ModelError
from latentedit.faces.dlib_models import load_dlib, model_file
from latentedit.training.face_teacher import (
    CHIP,
    DlibFaceNetwork,
    describe_crops,
    describe_prepared,
    face_chip,
    tight_chips,
)


@pytest.fixture(scope="module")
def network() -> DlibFaceNetwork:
    return DlibFaceNetwork()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    photo = Image.open(str(resources.files("latentedit.assets") / "photos" / "portrait_a.jpg")).convert("RGB")
    return photo.resize((CHIP, CHIP))


def test_descriptors_are_dlibs(network: DlibFaceNetwork, portrait: Image.Image) -> None:
    theirs = load_dlib().face_recognition_model_v1(str(model_file("dlib_face_recognition_resnet_model_v1.dat")))
    noise = np.random.RandomState(0).randint(0, 256, (CHIP, CHIP, 3), np.uint8)
    chips = [np.asarray(portrait), np.asarray(portrait)[:, ::-1].copy(), noise]
    expected = np.array([theirs.compute_face_descriptor(chip) for chip in chips])
    ours = network(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    reduced = DlibFaceNetwork(dtype=torch.bfloat16)(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2)).numpy()
    assert np.linalg.norm(reduced - expected, axis=1).max() < 0.05, "a tenth of what tells persons apart"


def upright_landmarks(side: int) -> np.ndarray:
    """Landmarks of a frontal face that fills a tight crop: eyes, nose and mouth where the crop template puts them."""
    points = np.zeros((68, 2))
    points[:17] = np.stack([np.linspace(0.1, 0.9, 17), 0.35 + 0.6 * np.sin(np.linspace(0, np.pi, 17))], 1)
    points[17:22], points[22:27] = np.linspace([0.2, 0.25], [0.42, 0.25], 5), np.linspace([0.58, 0.25], [0.8, 0.25], 5)
    points[27:36] = np.linspace([0.5, 0.35], [0.5, 0.6], 9)
    points[36:42], points[42:48] = [0.3, 0.36], [0.7, 0.36]
    points[48:68] = np.linspace([0.35, 0.78], [0.65, 0.78], 20)
    return points * side


def test_chip_turns_with_the_landmarks_and_reaches_beyond_the_crop() -> None:
    crop = np.zeros((128, 128, 3), np.uint8)
    crop[:] = np.arange(128)[None, :, None] + 60
    points = upright_landmarks(128)
    chip = face_chip(crop, points)
    assert chip.shape == (CHIP, CHIP, 3)
    assert chip.min() >= 55, "mirrored, not black, outside the crop"
    turned = face_chip(np.rot90(crop, 2).copy(), 127 - points)
    assert np.abs(turned.astype(int) - chip)[20:-20, 20:-20].mean() < 3


def test_chips_without_landmarks_are_near_those_with_them_and_differentiable() -> None:
    y, x = np.mgrid[:128, :128]
    crop = np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8)
    images = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 127.5 - 1
    images.requires_grad_(True)
    chips = tight_chips(images)
    assert chips.shape == (1, 3, CHIP, CHIP)
    expected = face_chip(crop, upright_landmarks(128)).astype(float)
    error = np.abs(chips[0].permute(1, 2, 0).detach().numpy() - expected)[30:-30, 30:-30]
    assert error.mean() < 10, "the frames lie within a twelfth of the crop of each other"
    chips.sum().backward()
    assert images.grad is not None
    assert (images.grad > 0).all(), "every pixel is seen"


def test_prepared_shards_are_described_once(network: DlibFaceNetwork, tmp_path: Path) -> None:
    crops = np.random.RandomState(0).randint(0, 256, (3, 64, 64, 3), np.uint8)
    landmarks = np.stack([upright_landmarks(64)] * 3).astype(np.float32)
    for name in ("lfw-000", "lfw-masked-000"):
        np.save(tmp_path / f"{name}.npy", crops)
        np.save(tmp_path / f"{name}.landmarks.npy", landmarks)
        (tmp_path / f"{name}.csv").write_text("dataset\n")
    assert list(describe_prepared(tmp_path, network)) == [("lfw-000", 3)]
    written = np.load(tmp_path / "teacher" / "identity-lfw-000.npy")
    np.testing.assert_array_equal(written, describe_crops(network, crops, landmarks))
    assert (written.shape, written.dtype) == ((3, 128), np.float32)
    assert list(describe_prepared(tmp_path, network)) == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(b"\x01\x02" * 1000)
    with pytest.raises(ModelError, match=r"does not hold dlib's face recognition network\. Reinstall dlib's models\."):
        DlibFaceNetwork(tmp_path / "x.dat")
