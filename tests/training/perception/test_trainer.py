"""The training loop: losses where labels are, resuming, what it learns, what it exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_squares import CONFIG, SMILE, faces

from latentedit.errors import ModelError
from latentedit.models import load_network, save_network
from latentedit.networks.perception import fold
from latentedit.training.perception.finish import finish, predict
from latentedit.training.perception.recipe import TrainingConfig
from latentedit.training.perception.trainer import PerceptionTrainer, load_average


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
    assert {"smile", "gender", "mask"} <= set(network.config.attributes)
    assert "necktie" not in network.config.attributes, "nothing was labelled with it"
    save_network(tmp_path / "p.safetensors", network, dtype=torch.float16)
    loaded = load_network(tmp_path / "p.safetensors", kind="perception")
    held = trained.table.where("held", dataset="celeba10k")
    seen = predict(loaded, trained.table, held)  # type: ignore[arg-type]
    labels = trained.table.attributes[held, SMILE]
    assert ((seen.scores["smile"] > 0.5) == (labels > 0.5)).mean() > 0.9


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
