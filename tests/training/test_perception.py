"""The training loop: losses where labels are, resuming, what it learns, what it exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentedit.errors import ModelError
from latentedit.evaluation.perception import report
from latentedit.models import load_network, save_network
from latentedit.networks.perception import ATTRIBUTES, PerceptionConfig, fold
from latentedit.training.perception import PerceptionTrainer, Targets, TrainingConfig, load_average, losses
from latentedit.training.perception_augment import AugmentConfig
from latentedit.training.perception_calibrate import finish
from latentedit.training.perception_data import FaceTable

NETWORK = PerceptionConfig(size=16, widths=(8, 16), blocks=(1, 1), hidden=16)
CONFIG = TrainingConfig(
    images=640,
    batch=32,
    rate=5e-3,
    report_images=320,
    ema_images=64,
    precision="float32",
    network=NETWORK,
    augment=AugmentConfig(size=16, sizes=(16, 24), erase=0, noise=0),
)
SMILE, MALE, MASK = (ATTRIBUTES.index(name) for name in ("smile", "male", "mask"))


def faces(count: int = 240) -> FaceTable:
    """Grey squares: a bright lower half is a smile, a bright left half is male, and the data sets label them apart."""
    rng = np.random.RandomState(0)
    smile, male = rng.randint(0, 2, (2, count))
    images = rng.randint(60, 110, (count, 24, 24, 3))
    images[:, 12:] += 90 * smile[:, None, None, None]
    images[:, :, :6] += 50 * male[:, None, None, None]
    images[:, :, 18:] += 50 * male[:, None, None, None]
    dataset = np.array(["celeba10k", "utkface", "lfw"])[np.arange(count) % 3]
    attributes = np.full((count, len(ATTRIBUTES)), np.nan, np.float32)
    attributes[:, MASK] = 0
    attributes[dataset == "celeba10k", SMILE] = smile[dataset == "celeba10k"]
    attributes[dataset == "utkface", MALE] = male[dataset == "utkface"]
    split = np.array(["train", "train", "train", "train", "valid", "held"])[np.arange(count) // 3 % 6]
    persons = np.where(dataset == "lfw", [f"{split[i]} {i // 18 % 4}" for i in range(count)], "")
    return FaceTable(
        shards={"s": images.astype(np.uint8)},
        shard=np.array(["s"] * count),
        row=np.arange(count),
        dataset=dataset,
        file=np.array([f"{i}.jpg" for i in range(count)]),
        person=persons,
        split=split,
        masked=np.zeros(count, bool),
        ethnicity=np.full(count, np.nan),
        age=np.where(dataset == "utkface", 30.0 + 20 * male, np.nan).astype(np.float32),
        attributes=attributes,
        pose=np.full((count, 3), np.nan, np.float32),
        landmarks=np.full((count, 68, 2), np.nan, np.float32),
        identity=rng.randn(count, 128).astype(np.float32),
    )


def head_losses(table: FaceTable, rows: list[int]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    heads = {"attributes": len(ATTRIBUTES), "age": 101, "pose": 3, "identity": 128}
    values = {name: torch.randn(len(rows), size, requires_grad=True) for name, size in heads.items()}
    still = torch.zeros(len(rows))
    parts = losses(values, Targets(table), torch.tensor(rows), still.bool(), still, CONFIG, torch.randn(5, 128))
    return values, parts


def test_a_head_gets_no_gradient_where_its_label_is_missing() -> None:
    table = faces()
    table.identity[0] = np.nan
    values, parts = head_losses(table, [0, 1, 2])  # celeba10k, utkface, lfw
    torch.stack(list(parts.values())).sum().backward()
    touched = {name: value.grad for name, value in values.items()}
    assert all(gradient is not None for gradient in touched.values())
    labelled = {(0, SMILE), (1, MALE), (0, MASK), (1, MASK), (2, MASK)}
    assert {tuple(i) for i in touched["attributes"].nonzero().tolist()} == labelled
    assert touched["age"].abs().sum(1).bool().tolist() == [False, True, False]
    assert touched["identity"].abs().sum(1).bool().tolist() == [False, True, True]
    assert touched["pose"].abs().sum(0).bool().tolist() == [False, False, True], "only the roll is known"


def test_losses_are_those_of_the_definition() -> None:
    table = faces()
    values, parts = head_losses(table, [1])
    p = values["age"].softmax(1)[0]
    bins = torch.arange(101.0)
    label = float(table.age[1])
    wanted = torch.exp(-((bins - label) ** 2) / 8)
    wanted = wanted / wanted.sum()
    expected = -(wanted * p.log()).sum() + 0.5 * ((p * bins).sum() - label).abs()
    torch.testing.assert_close(parts["age"], CONFIG.age_weight * expected)
    target = Targets(table).identity[1]
    cosine = torch.cosine_similarity(values["identity"][0], target, dim=0)
    torch.testing.assert_close(parts["identity"], CONFIG.identity_weight * (1 - cosine))


def test_mirroring_turns_yaw_and_roll_round() -> None:
    table = replace(faces(), pose=np.tile(np.array([10, 5, 99], np.float32), (240, 1)))
    heads = {"attributes": torch.zeros(2, len(ATTRIBUTES)), "age": torch.zeros(2, 101), "identity": torch.randn(2, 128)}
    flipped, roll = torch.tensor([False, True]), torch.tensor([3.0, 3.0])
    for pose, exact in (([[10, 5, 3], [-10, 5, 3]], True), ([[10, 5, 3], [10, 5, 3]], False)):
        own = heads | {"pose": torch.tensor(pose, dtype=torch.float32)}
        part = losses(own, Targets(table), torch.tensor([0, 1]), flipped, roll, CONFIG, torch.randn(5, 128))["pose"]
        assert (part.item() == 0) is exact


def run(folder: Path, config: TrainingConfig, *, stop: int | None = None) -> PerceptionTrainer:
    trainer = PerceptionTrainer(faces(), config)
    if (folder / "c.pt").exists():
        trainer.load(folder / "c.pt")
    for row in trainer.run():
        if stop is not None and row["images"] >= stop:
            trainer.save(folder / "c.pt")
            break
    return trainer


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path, CONFIG)
    run(tmp_path, CONFIG, stop=320)
    continued = run(tmp_path, CONFIG)
    assert continued.images == whole.images == 640
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(continued.average.state_dict()[name], value, msg=name)


def test_schedule_warms_up_falls_and_ends_on_time() -> None:
    trainer = PerceptionTrainer(faces(), replace(CONFIG, minutes=1.0))
    rates = []
    for images, seconds in ((0, 0), (32, 0), (320, 0), (320, 45), (640, 0), (0, 60)):
        trainer.images, trainer.seconds = images, seconds
        rates.append(trainer.rate())
    assert rates[0] == pytest.approx(0.02 * 5e-3)
    assert rates[1] == pytest.approx(5e-3)
    assert rates[1] > rates[2] > rates[3] > rates[4] == rates[5] == pytest.approx(0.01 * 5e-3)


def test_passes_draw_each_set_as_often_as_configured() -> None:
    trainer = PerceptionTrainer(faces(), replace(CONFIG, repeats={"celeba10k": 2.0, "lfw": 0.0}))
    order = trainer.order(0)
    assert set(trainer.table.split[order]) == {"train"}
    counts = {name: int((trainer.table.dataset[order] == name).sum()) for name in ("celeba10k", "utkface", "lfw")}
    train = int((trainer.table.split[trainer.table.dataset == "utkface"] == "train").sum())
    assert counts == {"celeba10k": 2 * train, "utkface": train, "lfw": 0}
    assert not np.array_equal(order, trainer.order(1))


@pytest.fixture(scope="module")
def trained() -> PerceptionTrainer:
    trainer = PerceptionTrainer(faces(), replace(CONFIG, images=4800, report_images=4800))
    assert len(list(trainer.run())) == 1
    return trainer


def test_it_learns_what_is_there_and_exports_it(trained: PerceptionTrainer, tmp_path: Path) -> None:
    network = finish(trained.average, trained.table)
    assert network.config.folded
    assert {"smile", "male", "mask"} <= set(network.config.attributes)
    assert "necktie" not in network.config.attributes, "nothing was labelled with it"
    save_network(tmp_path / "p.safetensors", network, dtype=torch.float16)
    loaded = load_network(tmp_path / "p.safetensors", kind="perception")
    figures, held = report(loaded, trained.table)  # type: ignore[arg-type]
    assert figures["attributes"]["smile"]["celeba10k"]["accuracy"] > 0.9
    assert figures["attributes"]["male"]["utkface"]["accuracy"] > 0.9
    assert figures["age"]["all"]["mae"] < 6
    assert figures["identity"]["pairs"] > 0
    assert (held.table.split[held.rows] == "held").all()


def test_a_checkpoint_gives_back_the_average(trained: PerceptionTrainer, tmp_path: Path) -> None:
    trained.save(tmp_path / "c.pt")
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(
        load_average(tmp_path / "c.pt").perceive(images).age, trained.average.perceive(images).age
    )


def test_a_run_can_start_from_weights_but_not_from_folded_ones(trained: PerceptionTrainer) -> None:
    trainer = PerceptionTrainer(faces(), CONFIG)
    trainer.start_from(trained.average)
    assert trainer.images == 0
    torch.testing.assert_close(trainer.average.age_head.weight, trained.average.age_head.weight)
    torch.testing.assert_close(trainer.network.stem.weight, trained.average.stem.weight)
    with pytest.raises(ModelError, match=r"of another network\. Give start\.safetensors, not the folded export\."):
        trainer.start_from(fold(trained.average))
