"""Encoder training on a frozen generator: it learns, pairs masked photos with clean ones, and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig
from latentedit.training.data.crops import FaceCrops
from latentedit.training.encoder import EncoderTrainer, EncoderTrainingConfig


class Crops(FaceCrops):
    """Crops in memory, with a masked variant (a grey lower half) of each of the first ten."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops = crops
        self.masked = crops[:10].copy()
        self.masked[:, 8:] = 128
        self.masked_of = np.arange(10)


def made() -> tuple[Generator, Encoder, Crops]:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16)
    generator = Generator(config).eval().requires_grad_(False)
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=6, w_dim=16, channels=(8, 16, 16), blocks=0))
    with torch.no_grad():
        images = generator(torch.randn(40, 16), noise_mode="const")
    crops = ((images.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return generator, encoder, Crops(crops)


def test_masked_inputs_have_clean_targets() -> None:
    generator, encoder, faces = made()
    trainer = EncoderTrainer(encoder, generator, EncoderTrainingConfig(batch_size=16, masked_share=0.5))
    inputs, targets = trainer.batch(faces)
    different = (inputs != targets).flatten(1).any(dim=1)
    assert 2 <= int(different.sum()) <= 14
    assert torch.equal(inputs[different][:, :, :8], targets[different][:, :, :8])


def test_learns_with_the_generator_frozen(tmp_path: Path) -> None:
    generator, encoder, faces = made()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    trainer = EncoderTrainer(encoder, generator, EncoderTrainingConfig(learning_rate=3e-3))
    losses = [float(step["mse"]) for step in trainer.run(faces, 16 * 60, path=tmp_path / "encoder.pt")]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_resumes_exactly(tmp_path: Path) -> None:
    results = []
    for stops in ((16 * 6,), (16 * 3, 16 * 6)):
        path = tmp_path / f"{len(stops)}.pt"
        for i, stop in enumerate(stops):
            generator, encoder, faces = made()
            trainer = EncoderTrainer(encoder, generator, EncoderTrainingConfig())
            torch.manual_seed(5 + i)
            if i:
                trainer.load(path)
            list(trainer.run(faces, stop, path=path))
        results.append(trainer.encoder.state_dict())
    assert all(torch.allclose(results[0][name], results[1][name], atol=1e-6) for name in results[0])
