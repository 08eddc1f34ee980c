"""Figures of a perception network: closed forms, and a report on one that learnt what there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_squares import CONFIG, faces

from latentedit.evaluation.perception import BARS, bars, binary_figures, rank_correlation, report, ten_folds
from latentedit.evaluation.robustness import robustness, speed_figures
from latentedit.networks.perception import ATTRIBUTES
from latentedit.training.perception.finish import (
    best_threshold,
    finish,
)
from latentedit.training.perception.trainer import PerceptionTrainer


def test_binary_figures() -> None:
    figures = binary_figures(np.array([0.9, 0.8, 0.4, 0.2, 0.1]), np.array([1, 0, 1, 0, 0]))
    assert figures == pytest.approx({
        "n": 5, "positive": 0.4, "accuracy": 0.6, "balanced": (1 / 2 + 2 / 3) / 2, "roc_area": 5 / 6,
        "calibration_error": (0.1 + 0.8 + 0.6 + 0.2 + 0.1) / 5,
    })  # fmt: skip


def test_ten_folds_judges_by_thresholds_of_the_other_nine() -> None:
    same = np.arange(100) % 2 == 0
    assert ten_folds(np.where(same, 0.3, 0.8), same) == 1
    rng = np.random.RandomState(0)
    noise = rng.rand(100)
    assert ten_folds(noise, same) < best_threshold(noise, same)[1]


def test_rank_correlation_knows_order_only() -> None:
    a = np.random.RandomState(0).rand(50)
    assert rank_correlation(a, np.exp(5 * a)) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)


def test_bars_say_met_missed_and_not_measured() -> None:
    figures = {"age": {"all": {"mae": 7.0}}, "speed": {"ms_per_face": 3.0}, "identity": {}}
    result = {bar["bar"].split(" ")[0]: bar["met"] for bar in bars(figures)}
    assert result["age"] is False
    assert result["ms"] is True
    assert result["identity"] is None


@pytest.fixture(scope="module")
def trained() -> PerceptionTrainer:
    trainer = PerceptionTrainer(faces(), replace(CONFIG, images=4800, report_images=4800))
    assert len(list(trainer.run())) == 1
    return trainer


def test_a_report_measures_held_out_crops_of_every_head(trained: PerceptionTrainer) -> None:
    figures, held = report(finish(trained.average, trained.table), trained.table)
    assert figures["attributes"]["smile"]["celeba10k"]["accuracy"] > 0.9
    assert figures["attributes"]["gender"]["utkface"]["accuracy"] > 0.9
    assert figures["age"]["all"]["mae"] < 6
    assert figures["identity"]["pairs"] > 0
    assert (held.table.split[held.rows] == "held").all()
    assert {bar["bar"] for bar in figures["bars"]} == {name for name, *_ in BARS}


def test_spoilt_crops_cost_accuracy_and_clean_ones_are_as_in_the_report(trained: PerceptionTrainer) -> None:
    network = finish(trained.average, trained.table)
    figures = robustness(network, trained.table)
    held = trained.table.where("held")
    chosen = held[np.isin(trained.table.dataset[held], ("utkface", "celeba10k"))]
    smile = ATTRIBUTES.index("smile")
    labels = trained.table.attributes[chosen, smile]
    with torch.no_grad():
        said = network.perceive(trained.table.images(chosen).float() / 127.5 - 1)["smile"].numpy()
    known = ~np.isnan(labels)
    assert figures["as they are"]["smile"] == pytest.approx(((said[known] > 0.5) == (labels[known] > 0.5)).mean())
    assert figures["dark"]["age_mae"] > figures["as they are"]["age_mae"]
    assert speed_figures(network, batch=2)["ms_per_face"] > 0
