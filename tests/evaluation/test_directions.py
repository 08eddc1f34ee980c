"""Evaluation of directions on a generator of which everything is known; see `toy_model`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_model import ToyGenerator, ToyPerception

from latentedit.directions import Direction, LabelledLatents, SampleConfig, fit_attributes, sample_labelled
from latentedit.directions.fitting.config import ProcedureConfig
from latentedit.directions.fitting.probe import Probe
from latentedit.editing import edit
from latentedit.errors import DirectionError
from latentedit.evaluation.directions import evaluate_direction, spread_of, strip
from latentedit.evaluation.plot import calibration_plot
from latentedit.models import Model

NAMES = ("age", "smile")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("toy", ToyGenerator().eval(), perception=ToyPerception().eval())


@pytest.fixture(scope="module")
def probe(model) -> Probe:
    return Probe(model.generator, model.perception, batch=256)


@pytest.fixture(scope="module")
def samples(model) -> LabelledLatents:
    return sample_labelled(model.generator, model.perception, SampleConfig(count=4000, shard=1000, batch=250))


@pytest.fixture(scope="module")
def fitted(probe, samples) -> dict[str, Direction]:
    return fit_attributes(probe, samples, NAMES, config=ProcedureConfig(watch=NAMES))


@pytest.fixture(scope="module")
def faces(model, probe) -> torch.Tensor:
    """Latents that no direction was fitted on."""
    fresh = sample_labelled(model.generator, model.perception, SampleConfig(count=64, seed=9, batch=64))
    return probe.spread_ws(fresh.w)


def doubled(direction: Direction) -> Direction:
    """``direction`` with a calibration that promises twice the years."""
    known = direction.calibration
    assert known is not None
    return direction.with_(calibration=type(known)(known.distances, tuple(40 + 2 * (s - 40) for s in known.scores)))


def test_evaluation_measures_what_units_come_to(model, fitted, samples, tmp_path) -> None:
    fresh = LabelledLatents(samples.w[:800], {k: v[:800] for k, v in samples.scores.items()}, samples.units)
    age = evaluate_direction(model, fitted["age"], fresh, probes=24)
    assert age.accuracy_ends > 0.95
    assert age.accuracy_ends > age.accuracy_all > 0.7
    for amounts in (age.calibrated, age.corrected):
        assert amounts is not None
        assert amounts.amount == 15
        assert amounts.mean == pytest.approx(15, abs=1)
        assert amounts.success > 0.95
    assert np.all(np.diff(age.curve["median"]) > 0)
    smile = evaluate_direction(model, fitted["smile"], fresh, probes=24)
    assert smile.corrected is not None
    assert smile.corrected.mean == pytest.approx(0.9, abs=0.05)
    assert max(smile.leakage.values()) < 0.25
    calibration_plot(fitted["smile"], smile, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_evaluation_of_an_unknown_attribute_is_refused(model, fitted, samples) -> None:
    stranger = fitted["age"].with_(name="charm", settings={})
    with pytest.raises(DirectionError, match=r"Nothing measures 'charm'.*Known: age, smile"):
        evaluate_direction(model, stranger, samples)


def test_a_strip_goes_from_low_to_high(fitted, probe, faces) -> None:
    rows = strip(probe, fitted["age"], faces[:2], [-1.0, 0.0, 1.0])
    assert [len(row) for row in rows] == [3, 3]
    assert rows[0][0].size == (24, 6)  # w_dim x layers: the toy generator's picture
    assert rows[0][0].tobytes() != rows[0][2].tobytes()
    assert spread_of(Direction("d", torch.ones(24)), faces) == 1.0


def test_what_is_measured_is_what_edit_does(model, fitted, samples, probe) -> None:
    """A calibration that is off by two: without verification half the years arrive, with it all of them."""
    wrong = doubled(fitted["age"])
    found = evaluate_direction(model, wrong, samples, probes=24)
    chosen = np.random.default_rng(0).permutation(len(samples))[:24]
    ws = probe.spread_ws(samples.w[chosen])
    start = probe.scores(ws)["age"]
    for amounts, verify in ((found.calibrated, False), (found.corrected, True)):
        assert amounts is not None
        edited = edit(ws, model=model, directions={"age": wrong}, verify=verify, age=15.0)
        assert amounts.mean == pytest.approx(float((probe.scores(edited.ws)["age"] - start).mean()))
    assert found.calibrated is not None
    assert found.calibrated.mean == pytest.approx(7.5, abs=1)
    assert found.corrected is not None
    assert found.corrected.mean == pytest.approx(15, abs=1)
