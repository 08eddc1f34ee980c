"""Small heads: they borrow the blocks that they stand for, and `synthesis` renders through them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentedit.cuda_ops import haar_cells
from latentedit.errors import LatentError, ModelError
from latentedit.models.network_file import load_network, save_network
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileStyleGANGenerator
from latentedit.networks.small_heads import SmallHeads, SmallHeadsConfig
from latentedit.training.encoding.heads import FeatureStore, HeadsTrainer, HeadsTrainingConfig, clipped_error
from latentedit.training.encoding.least_squares import LeastSquares, coefficients
from latentedit.training.encoding.pairs import Pairs, PairsConfig, render_shards

CHANNELS = (32, 32, 32, 16)


@pytest.fixture(scope="module")
def generator() -> MobileStyleGANGenerator:
    torch.manual_seed(0)
    config = MobileStyleGANConfig(channels=CHANNELS, z_dim=16, w_dim=16, mapping_layers=2)
    return MobileStyleGANGenerator(config).eval().requires_grad_(False)


@pytest.fixture
def heads(generator: MobileStyleGANGenerator) -> SmallHeads:
    torch.manual_seed(1)
    return SmallHeads.beside(generator.synthesis, (16, 32)).eval().requires_grad_(False)  # type: ignore[arg-type]


def test_synthesis_renders_through_its_heads(generator: MobileStyleGANGenerator, heads: SmallHeads) -> None:
    ws = generator.mapping(torch.randn(2, 16))
    synthesis = generator.synthesis
    averaged = synthesis(ws, resolution=16)
    synthesis.heads = heads  # type: ignore[assignment]
    try:
        small = synthesis(ws, resolution=16)
        features = synthesis.features(ws, 8)  # type: ignore[attr-defined]
        assert torch.allclose(small, heads(features, ws, 16))
        assert small.shape == averaged.shape
        assert not torch.allclose(small, averaged)
        assert torch.equal(synthesis(ws, resolution=8), torch.nn.functional.avg_pool2d(synthesis(ws), 8))
    finally:
        synthesis.heads = None  # type: ignore[assignment]


def test_the_first_layer_is_the_generators(generator: MobileStyleGANGenerator, heads: SmallHeads) -> None:
    block = generator.synthesis.b32  # type: ignore[attr-defined]
    head = heads.heads["32"]
    ws = generator.mapping(torch.randn(1, 16))
    assert torch.equal(head.own["up"](ws[:, 5]), block.up(ws[:, 5]))  # type: ignore[index,operator]
    assert torch.allclose(
        head.own["conv0"](ws[:, 5]) * head.gains["conv0"],
        block.conv0.styles(ws[:, 5]),  # type: ignore[index,operator]
    )
    assert torch.equal(head.weight0, block.conv0.weight)  # type: ignore[arg-type]


def test_later_rows_are_seen(heads: SmallHeads) -> None:
    torch.manual_seed(2)
    for layer in heads.heads["16"].others.values():  # type: ignore[union-attr]
        torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(heads.heads["16"].image_weight)  # type: ignore[arg-type]
    features, ws = torch.randn(1, 32, 8, 8), torch.randn(1, 10, 16)
    other = ws.clone()
    other[:, 7] += 1
    past = ws.clone()
    past[:, :3] += 1
    assert not torch.allclose(heads(features, ws, 16), heads(features, other, 16))
    assert torch.equal(heads(features, ws, 16), heads(features, past, 16))


def test_training_makes_the_pictures_alike(
    generator: MobileStyleGANGenerator, heads: SmallHeads, tmp_path: Path
) -> None:
    synthesis = generator.synthesis
    list(render_shards(generator, tmp_path, 3, PairsConfig(size=32, shard_size=16, mixed=0.5)))
    pairs = Pairs(tmp_path, num_ws=10)
    config = HeadsTrainingConfig(batch_size=4, part=1.0, first=4, learning_rate=2e-3, warmup=5, bf16=False)
    trainer = HeadsTrainer(heads, synthesis, config)  # type: ignore[arg-type]
    trainer.start(pairs, 16)
    store = FeatureStore(tmp_path / "features", synthesis, pairs, (16, 32), 12)  # type: ignore[arg-type]
    figures = [float(step["db32"]) for step in trainer.run(store, 60, path=tmp_path / "heads.pt")]
    assert store.done == 12
    assert sum(figures[-8:]) > sum(figures[:8]) + 8 * 0.3
    again = HeadsTrainer(SmallHeads(heads.config), synthesis, config)  # type: ignore[arg-type]
    again.load(tmp_path / "heads.pt")
    assert again.step == 60
    features = synthesis.features(pairs.latents([0]), 16)  # type: ignore[attr-defined]
    assert torch.equal(
        again.average(features, pairs.latents([0]), 32), trainer.average(features, pairs.latents([0]), 32)
    )


def test_stored_features_are_the_generators(generator: MobileStyleGANGenerator, tmp_path: Path) -> None:
    list(render_shards(generator, tmp_path, 3, PairsConfig(size=32, shard_size=4)))
    pairs = Pairs(tmp_path, num_ws=10)
    store = FeatureStore(tmp_path / "features", generator.synthesis, pairs, (32,), 2)  # type: ignore[arg-type]
    assert [store.more() for _ in range(3)] == [True, True, False]
    features = generator.synthesis.features(pairs.latents([1]), 16)  # type: ignore[attr-defined]
    assert torch.allclose(store.part(32, 1, 2, 4, 8), features[:, :, 2:10, 4:12], rtol=0.05, atol=0.05)
    again = FeatureStore(tmp_path / "features", generator.synthesis, pairs, (32,), 2)  # type: ignore[arg-type]
    assert again.done == 2


def test_least_squares_find_the_weights_that_made_a_picture() -> None:
    torch.manual_seed(0)
    coarse, fine = torch.randn(5, 6, 6), torch.randn(3, 12, 12)
    bands, shared = torch.randn(8, 5), torch.randn(2, 3)
    picture = haar_cells(torch.einsum("bc,chw->bhw", bands, coarse)[None])[0]
    picture = picture + torch.einsum("cm,mhw->chw", shared, fine)
    squares = LeastSquares()
    squares.add(coarse, coefficients(fine[None])[0], coefficients(picture[None])[0])
    found = squares.solve(ridge=1e-12)
    assert torch.allclose(found[0], bands, atol=1e-4)
    assert torch.allclose(found[1], shared, atol=1e-4)


def test_what_bytes_do_not_tell_is_no_error() -> None:
    found, wanted = torch.tensor([1.3, 0.9, -1.2, 0.0]), torch.tensor([1.0, 1.0, -1.0, 0.5])
    assert torch.allclose(clipped_error(found, wanted), torch.tensor([0.0, -0.1, 0.0, -0.5]))


def test_goes_through_a_file(heads: SmallHeads, tmp_path: Path) -> None:
    save_network(tmp_path / "heads.safetensors", heads)
    loaded = load_network(tmp_path / "heads.safetensors", kind="heads")
    features, ws = torch.randn(1, 32, 8, 8), torch.randn(1, 10, 16)
    assert torch.equal(loaded(features, ws, 16), heads(features, ws, 16))


def test_sides_without_a_head_are_refused(heads: SmallHeads) -> None:
    with pytest.raises(LatentError, match=r"There is no head for 64 px.*\(16, 32\)"):
        heads(torch.randn(1, 16, 32, 32), torch.randn(1, 10, 16), 64)
    with pytest.raises(ModelError, match=r"There are no heads for sides \(48,\)"):
        SmallHeadsConfig(sides=(48,))
