"""The stages on a tiny model and drawn pictures: they learn, resume exactly, and hand over to each other."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentedit.errors import ImageError, ModelError
from latentedit.networks import (
    DiscriminatorConfig,
    Encoder,
    EncoderConfig,
    Generator,
    GeneratorConfig,
    PerceptionConfig,
    PerceptionNetwork,
)
from latentedit.training.adversarial import AdversarialConfig, ReconstructionConfig
from latentedit.training.augment import AugmentConfig
from latentedit.training.autoencoder import AutoencoderConfig, recentre
from latentedit.training.data import FaceCrops, downscale, training_batch
from latentedit.training.latent_fit import CENTRE, LatentFitConfig
from latentedit.training.stages import (
    RunConfig,
    adversarial,
    adversarial_networks,
    adversarial_trainer,
    autoencode,
    autoencoder_networks,
    encode_all,
    fit_mapping,
    grown_networks,
    load_run,
    mapping_networks,
    remap,
    save_run,
    save_start,
    start_networks,
)

AUTOENCODER = AutoencoderConfig(batch_size=8, learning_rate=3e-3, warmup=5, bf16=False)


def draw_shard(folder: Path, count: int = 48, size: int = 32) -> None:
    """Pictures of two-coloured discs as a shard in the format of scripts/prepare_faces.py, a sixth of them held out."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size - 0.5
    inside = [(x - a) ** 2 + (y - b) ** 2 < 0.1 for a, b in random.uniform(-0.2, 0.2, (count, 2))]
    colours = random.integers(0, 255, (count, 2, 3))
    crops = np.stack([np.where(m[..., None], c[0], c[1]) for m, c in zip(inside, colours, strict=True)])
    np.save(folder / "discs-000.npy", crops.astype(np.uint8))
    with (folder / "discs-000.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ("dataset", "shard", "row", "file", "split"))
        table.writeheader()
        for i in range(count):
            split = "held" if i % 6 == 0 else "train"
            table.writerow({"dataset": "discs", "shard": "000", "row": i, "file": f"{i}.png", "split": split})


@pytest.fixture
def faces(tmp_path: Path) -> FaceCrops:
    draw_shard(tmp_path)
    return FaceCrops(tmp_path, 16)


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    made = RunConfig(
        tmp_path / "run",
        GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16),
        EncoderConfig(resolution=16, num_ws=6, w_dim=16, channels=(8, 16, 16), blocks=0),
        DiscriminatorConfig(resolution=16, channel_base=128, channel_max=16),
        save_every=16,
    )
    save_run(made)
    return made


@pytest.fixture
def fabric():
    return pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)


def test_downscale_averages_and_refuses_other_sizes() -> None:
    crops = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert downscale(crops, 2)[0, 0, 0, 0] == np.rint(crops[0, :2, :2, 0].mean())
    with pytest.raises(ImageError, match="4 px cannot be averaged to 3 px"):
        downscale(crops, 3)


def test_masked_variants_follow_their_photos_split(tmp_path: Path) -> None:
    draw_shard(tmp_path)
    crops = np.load(tmp_path / "discs-000.npy")
    sources = [0, 1, 6, 11]  # 0 and 6 are held out
    np.save(tmp_path / "discs-masked-000.npy", 255 - crops[sources])
    with (tmp_path / "discs-masked-000.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("dataset", "shard", "row", "source_row"))
        table.writerows(("discs", "000", i, source) for i, source in enumerate(sources))
    for split, expected in (("train", [1, 11]), ("held", [0, 6])):
        faces = FaceCrops(tmp_path, 32, split=split)
        assert [int(faces.rows[i]["row"]) for i in faces.masked_of] == expected
        assert np.array_equal(faces.masked, 255 - faces.crops[faces.masked_of])


def test_batches_depend_on_seed_and_step_alone(faces: FaceCrops) -> None:
    assert len(faces) == 40
    one = training_batch(faces, 8, seed=1, step=5)
    assert torch.equal(one, training_batch(faces, 8, seed=1, step=5))
    assert not torch.equal(one, training_batch(faces, 8, seed=1, step=6))
    assert one.min() >= -1
    assert one.max() <= 1


def test_autoencoder_learns_and_resumes_exactly(run: RunConfig, faces: FaceCrops) -> None:
    straight = [losses["mse"] for _, losses in autoencode(run, faces, 480, AUTOENCODER)]
    assert np.mean(straight[-5:]) < 0.5 * np.mean(straight[:5])
    other = replace(run, folder=run.folder / "again")
    torch.manual_seed(99)
    list(autoencode(other, faces, 240, replace(AUTOENCODER, latent_noise=0.0)))
    state = torch.load(other.path("autoencoder"), weights_only=True)
    list(autoencode(other, faces, 256, replace(AUTOENCODER, latent_noise=0.0)))
    third = replace(run, folder=run.folder / "third")
    list(autoencode(third, faces, 256, replace(AUTOENCODER, latent_noise=0.0)))
    resumed = torch.load(other.path("autoencoder"), weights_only=True)["generator"]
    unbroken = torch.load(third.path("autoencoder"), weights_only=True)["generator"]
    assert state["step"] == 30
    assert all(torch.allclose(resumed[name], unbroken[name], atol=1e-6) for name in resumed)


def test_mapping_takes_the_latents_distribution(run: RunConfig, faces: FaceCrops) -> None:
    list(autoencode(run, faces, 160, AUTOENCODER))
    networks = autoencoder_networks(run, AUTOENCODER, faces)
    latents = encode_all(networks.encoder, faces)
    assert (latents.mean(dim=0) - CENTRE).abs().max() < 0.15
    assert latents.std(dim=0).sub(1).abs().max() < 0.3
    config = LatentFitConfig(batch_size=128, critic_steps=20)
    moments = [losses["moments"] for _, losses in fit_mapping(run, networks, latents, config)]
    assert max(moments) < 0.5
    mapping = mapping_networks(run).generator.mapping
    with torch.no_grad():
        w = mapping(torch.randn(4000, 16))[:, 0]
    assert (w.mean(dim=0) - latents.mean(dim=0)).abs().max() < 0.06
    assert torch.equal(mapping.w_avg, latents.mean(dim=0))
    difference = (torch.cov(w.t()) - torch.cov(latents.t())).norm() / torch.cov(latents.t()).norm()
    assert difference < 0.35


def test_recentring_changes_the_latents_and_not_what_they_render(run: RunConfig, faces: FaceCrops) -> None:
    generator, encoder = Generator(run.generator).eval(), Encoder(run.encoder).eval()
    torch.nn.init.normal_(encoder.offset.weight)
    photos = faces.tensor(range(40))
    with torch.no_grad():
        encoder.base.weight.mul_(torch.linspace(0.5, 3, 16)[:, None])
        before = generator.synthesis(encoder(photos))
        moved = recentre(generator, encoder, encoder.parts(photos)[0])
        base, offsets = encoder.parts(photos)
        after = generator.synthesis(base[:, None] + offsets)
    assert offsets.abs().mean() > 0.1
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(base, moved, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(base.mean(dim=0), torch.full([16], CENTRE), atol=1e-4, rtol=0)
    torch.testing.assert_close(base.std(dim=0), torch.ones(16), atol=1e-4, rtol=0)


def test_joint_training_resumes_exactly_and_grows(run: RunConfig, faces: FaceCrops, fabric) -> None:
    config = AdversarialConfig(
        batch_size=8,
        accumulate=2,
        r1_interval=2,
        path_length_interval=2,
        ada_interval=1,
        augment=AugmentConfig(rotations90=False),
        reconstruction=ReconstructionConfig(),
    )
    sight = PerceptionNetwork(PerceptionConfig(size=16, widths=(4, 8), blocks=(1, 1), hidden=8)).eval()
    sight.requires_grad_(False)
    trainer = adversarial_trainer(run, config, fabric, perception=sight)
    names: set[str] = set()
    for _, losses in adversarial(run, trainer, faces, 48):
        names |= set(losses)
        assert all(np.isfinite(list(losses.values())))
    assert {"g", "d", "r1", "path_length", "p", "mse", "latent_critic", "patches", "features", "r1_patches"} <= names
    other = replace(run, folder=run.folder / "again")
    list(adversarial(other, adversarial_trainer(other, config, fabric, perception=sight), faces, 24))
    torch.manual_seed(7)
    list(adversarial(other, adversarial_trainer(other, config, fabric, perception=sight), faces, 48))
    straight, resumed = adversarial_networks(run, average=False), adversarial_networks(other, average=False)
    for name, value in straight.generator.state_dict().items():
        assert torch.allclose(value, resumed.generator.state_dict()[name], atol=1e-6), name
    save_start(run, straight)
    third = replace(run, folder=run.folder / "third")
    kept = adversarial_trainer(third, config, fabric, start=start_networks(run), perception=sight)
    for name, module in (kept.modules | {"generator_ema": trainer.generator}).items():
        if isinstance(module, torch.nn.Module) and name in straight.modules | straight.judges:
            expected = trainer.modules[name].state_dict()
            assert all(torch.equal(value, expected[key]) for key, value in module.state_dict().items()), name
    remapped = replace(run, folder=run.folder / "remapped")
    list(remap(remapped, adversarial_networks(run, average=False), faces, LatentFitConfig(critic_steps=5)))
    moved = start_networks(load_run(remapped.folder))
    assert moved.encoder is not None
    with torch.no_grad():
        latents = encode_all(moved.encoder.eval(), faces)
        w = moved.generator.mapping(torch.randn(4000, 16))[:, 0]
    torch.testing.assert_close(latents.mean(dim=0), torch.full([16], CENTRE), atol=1e-3, rtol=0)
    assert (w.mean(dim=0) - CENTRE).abs().max() < 0.1
    grown = grown_networks(run.folder)
    ws = torch.randn(2, 6, 16)
    with torch.no_grad():
        small = adversarial_networks(run).generator.synthesis(ws, noise_mode="none")
        large = grown.generator.synthesis(torch.cat([ws, ws[:, -1:], ws[:, -1:]], dim=1), noise_mode="none")
        assert large.shape == (2, 3, 32, 32)
        assert torch.allclose(torch.nn.functional.avg_pool2d(large, 2).mean(), small.mean(), atol=0.05)
        assert grown.discriminator is not None
        assert grown.discriminator(large).shape == (2, 1)


def test_learning_rates_are_those_of_the_present_configuration(run: RunConfig, fabric) -> None:
    config = AdversarialConfig(patch_weight=0, feature_weight=0, learning_rate=4e-3, path_length_interval=0)
    adversarial_trainer(run, config, fabric).save(run.path("adversarial"))
    later = adversarial_trainer(run, replace(config, learning_rate=1e-3), fabric)
    assert later.optimizers["g"].param_groups[0]["lr"] == 1e-3


def test_a_share_of_the_photos_is_rebuilt_without_offsets(run: RunConfig, fabric) -> None:
    base, offsets = torch.randn(64, 16), torch.randn(64, 6, 16)
    config = AdversarialConfig(patch_weight=0, feature_weight=0, reconstruction=ReconstructionConfig(base_share=0.25))
    trainer = adversarial_trainer(run, config, fabric)
    with torch.no_grad():
        rebuilt = trainer._rebuilt(base, offsets)
        plain = trainer.generator.synthesis(base[:, None].repeat(1, 6, 1), noise_mode="const")
        moved = trainer.generator.synthesis(base[:, None] + offsets, noise_mode="const")
    near_plain, near_moved = ((rebuilt - images).flatten(1).abs().amax(dim=1) < 1e-5 for images in (plain, moved))
    assert bool((near_plain ^ near_moved).all())
    assert 4 <= int(near_plain.sum()) <= 32


def test_missing_stage_is_named(run: RunConfig) -> None:
    assert load_run(run.folder).generator == run.generator
    with pytest.raises(ModelError, match=r"mapping\.pt' is not there"):
        mapping_networks(run)
