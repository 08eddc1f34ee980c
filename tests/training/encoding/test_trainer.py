"""Encoder training: latents are learnt, pictures come into the loop, frozen parts stay, runs resume exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit.networks import Generator
from latentedit.networks.trunk_encoder import TrunkEncoder
from latentedit.training.encoding.chips import chip_frames, chips
from latentedit.training.encoding.critic import Critic
from latentedit.training.encoding.degrade import CLEAN
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.encoding.start import explained, fit_head, latent_basis, reduce_by_variance
from latentedit.training.encoding.trainer import STAGE_A, STAGE_B, EncoderTrainer, EncoderTrainingConfig, mirror

A = EncoderTrainingConfig(
    batch_size=8, trunk_rate=1e-3, head_rate=1e-3, warmup=5, side=16, bf16=False, degrade=CLEAN, weights=dict(STAGE_A)
)
B = replace(A, weights=dict(STAGE_B))


def distances(rendered: Tensor, wanted: Tensor, frames: Tensor) -> dict[str, Tensor]:
    assert frames.shape == (len(rendered), 2, 3)
    return {"perceptual": (rendered - wanted).abs().mean(dim=(1, 2, 3)), "identity": rendered.new_zeros(len(rendered))}


@pytest.fixture
def pairs(pairs_folder: Path) -> Pairs:
    return Pairs(pairs_folder, num_ws=8)


def run(trainer: EncoderTrainer, pairs: Pairs, steps: int, path: Path) -> list[dict[str, Tensor]]:
    return list(trainer.run(pairs, None, steps, path=path))


def test_the_basis_whitens_latents(generator: Generator) -> None:
    basis = latent_basis(generator, 4000)
    w = generator.mapping(torch.randn(4000, 16))[:, 0]
    u = (w - generator.mapping.w_avg) @ torch.linalg.inv(basis)
    covariance = u.t() @ u / len(u)
    large = basis.norm(dim=1) > 0.11 * basis.square().sum().div(16).sqrt()  # the others are held at a floor
    assert large.sum() >= 2
    assert torch.allclose(covariance[large][:, large], torch.eye(int(large.sum())), atol=0.2)


def test_the_closed_form_explains_latents_that_it_was_fitted_to(encoder: TrunkEncoder, pairs: Pairs) -> None:
    reduce_by_variance(encoder, pairs, 48)
    before = explained(encoder, pairs)
    assert list(fit_head(encoder, pairs, images=48, ridge=1.0, degraded=0.0)) == [16, 32, 48]
    after = explained(encoder, pairs)
    assert before["r2_w"] < 0.3
    assert after["r2_w"] > 0.8


def test_latents_are_learnt(encoder: TrunkEncoder, generator: Generator, pairs: Pairs, tmp_path: Path) -> None:
    list(fit_head(encoder, pairs, images=48, ridge=1e6, degraded=0.0))
    losses = [
        float(step["latent"]) for step in run(EncoderTrainer(encoder, generator, A), pairs, 60, tmp_path / "a.pt")
    ]
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])


def test_frozen_parts_and_the_generator_stay(
    encoder: TrunkEncoder, generator: Generator, pairs: Pairs, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    frozen = {name: value.clone() for name, value in generator.state_dict().items()}
    trainer = EncoderTrainer(encoder, generator, replace(B, frozen_blocks=1), distances)
    run(trainer, pairs, 3, tmp_path / "b.pt")
    moved = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert not any("stem" in name or "blocks.0." in name or "depthwise" in name for name in moved)
    assert {"base.weight", "offset.weight", "trunk.blocks.3.project.weight"} <= moved
    assert all(torch.equal(value, frozen[name]) for name, value in generator.state_dict().items())


def test_pictures_in_the_loop_come_closer(
    encoder: TrunkEncoder, generator: Generator, pairs: Pairs, tmp_path: Path
) -> None:
    only_pixels = replace(B, weights={"pixel": 1.0, "offset": 0.01})
    trainer = EncoderTrainer(encoder, generator, only_pixels)
    losses = [float(step["pixel"]) for step in run(trainer, pairs, 60, tmp_path / "b.pt")]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_offsets_are_bounded(encoder: TrunkEncoder) -> None:
    with torch.no_grad():
        encoder.offset.weight.fill_(10.0)
        _, offsets = encoder.coordinates(torch.rand(2, 3, 32, 32))
    assert float(offsets.abs().max()) <= encoder.config.bound


@pytest.mark.parametrize("config", [A, B], ids=["latents", "pictures"])
def test_resumes_exactly(
    config: EncoderTrainingConfig, encoder: TrunkEncoder, generator: Generator, pairs: Pairs, tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in encoder.state_dict().items()}

    def trainers() -> Iterator[EncoderTrainer]:
        while True:
            fresh = TrunkEncoder(encoder.config)
            fresh.load_state_dict(start)
            torch.manual_seed(3)
            yield EncoderTrainer(fresh, generator, config, distances)

    make = trainers()
    whole = next(make)
    run(whole, pairs, 6, tmp_path / "whole.pt")
    first = next(make)
    run(first, pairs, 3, tmp_path / "part.pt")
    second = next(make)
    second.load(tmp_path / "part.pt")
    run(second, pairs, 6, tmp_path / "part.pt")
    for name, value in whole.encoder.state_dict().items():
        assert torch.allclose(value, second.encoder.state_dict()[name], atol=1e-6), name


def test_the_critic_tells_rows_apart() -> None:
    torch.manual_seed(0)
    critic = Critic(8, learning_rate=3e-3)
    for _ in range(150):
        critic.learn(torch.randn(32, 8), 3 + torch.randn(32, 8))
    assert float(critic.judge(torch.randn(64, 8))) < 0.4 * float(critic.judge(3 + torch.randn(64, 8)))


def test_mirrored_landmarks_lie_on_the_mirrored_picture() -> None:
    points = np.random.RandomState(0).rand(2, 68, 2) * 40
    assert np.allclose(mirror(mirror(points, 40), 40), points)
    assert np.allclose(mirror(points, 40)[:, 36], [39, 0] + points[:, 45] * [-1, 1])  # right eye's outer corner
    assert np.allclose(mirror(points, 40)[:, 48], [39, 0] + points[:, 54] * [-1, 1])  # corner of the mouth


def test_chips_are_dlibs() -> None:
    from PIL import Image

    from latentedit.faces.detect import detect
    from latentedit.training.face_teacher import face_chip

    path = Path(__file__).parents[3] / "latentedit" / "assets" / "photos" / "portrait_a.jpg"
    photo = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    (face, *_) = detect(photo, detector="hog")
    crop = np.asarray(photo)
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    own = chips(image, chip_frames(face.landmarks[None], 256))[0].permute(1, 2, 0).numpy()
    assert np.abs(own - face_chip(crop, face.landmarks)).mean() < 4
