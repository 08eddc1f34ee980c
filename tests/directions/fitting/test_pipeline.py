"""The whole procedure on a generator whose ground truth is known; see conftest for the scores' formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentedit.directions import Direction, FitConfig, ProcedureConfig, fit_attributes, reach
from latentedit.directions.fitting.labelled import LabelledLatents, SampleConfig, sample_labelled
from latentedit.directions.fitting.probe import LeakageMeter, Probe
from latentedit.directions.fitting.study import calibrate_by_moving
from latentedit.errors import DirectionError
from latentedit.evaluation.directions import evaluate_direction, spread_of, strip
from latentedit.evaluation.plot import calibration_plot

NAMES = ("age", "smile", "yaw", "gender", "rare")


@pytest.fixture(scope="module")
def probe(generator, perception) -> Probe:
    return Probe(generator, perception, batch=256)


@pytest.fixture(scope="module")
def samples(generator, perception) -> LabelledLatents:
    return sample_labelled(generator, perception, SampleConfig(count=4000, shard=1000, batch=250))


@pytest.fixture(scope="module")
def reports() -> list[str]:
    return []


@pytest.fixture(scope="module")
def fitted(probe, samples, reports) -> dict[str, Direction]:
    return fit_attributes(probe, samples, NAMES, config=ProcedureConfig(watch=NAMES), report=reports.append)


@pytest.fixture(scope="module")
def faces(probe) -> torch.Tensor:
    """Latents that no direction was fitted on."""
    fresh = sample_labelled(probe.generator, probe.perception, SampleConfig(count=64, seed=9, batch=64))
    return probe.spread_ws(fresh.w)


def scores(probe: Probe, ws: torch.Tensor, name: str) -> torch.Tensor:
    return torch.from_numpy(probe.scores(ws)[name]).float()


def test_every_direction_separates_held_out_samples(fitted) -> None:
    assert {name: direction.accuracy > 0.97 for name, direction in fitted.items()} == dict.fromkeys(NAMES, True)
    assert {name: direction.unit for name, direction in fitted.items()} == {
        "age": "years", "smile": "probability", "yaw": "degrees", "gender": "probability", "rare": "probability",
    }  # fmt: skip


def test_years_are_years_and_degrees_degrees(fitted, probe, faces) -> None:
    for name, amount in (("age", 10.0), ("age", -15.0), ("yaw", 12.0)):
        change = scores(probe, faces + fitted[name].offset(faces, amount), name) - scores(probe, faces, name)
        assert float(change.mean()) == pytest.approx(amount, rel=0.05)
        assert float(change.std()) < 0.05 * abs(amount)


def test_probabilities_are_reached(fitted, probe, faces) -> None:
    for name, target in (("smile", 0.8), ("gender", 0.2), ("rare", 0.9)):
        start = scores(probe, faces, {"gender": "male"}.get(name, name))
        moved = faces + fitted[name].offset(faces, target, current=start)
        after = scores(probe, moved, {"gender": "male"}.get(name, name))
        assert float(after.mean()) == pytest.approx(target, abs=0.05)


def test_entangled_attributes_are_held_still(fitted) -> None:
    """smile leans towards age with |cos| 0.5: it drags age along until age is projected out."""
    smile = fitted["smile"]
    assert "age" in smile.settings["conditioned_on"]
    assert smile.metrics["leakage_before"]["age"] > 0.4
    assert smile.metrics["leakage"]["age"] < 0.05
    assert all(leak < 0.2 for d in fitted.values() for leak in d.metrics["leakage"].values())


def test_conditioned_normals_do_not_cross_the_true_gradients(fitted, perception) -> None:
    assert abs(float(fitted["smile"].normal @ perception.age)) < 0.03
    assert float(fitted["smile"].normal @ perception.smile) > 0.4


def test_pose_acts_on_the_layers_that_make_it(fitted) -> None:
    assert fitted["yaw"].layers == (0, 1)
    assert fitted["age"].layers is None


def test_the_file_names_what_was_measured(fitted, samples) -> None:
    age = fitted["age"]
    assert age.fingerprint == samples.fingerprint
    assert set(age.cosines) == set(NAMES) - {"age"}
    assert age.svm_normal is not None
    assert age.metrics["cosine_to_svm"] == pytest.approx(float(age.svm_normal @ age.normal), abs=1e-5)
    assert age.calibration is not None
    assert age.calibration.method == "moving"
    assert fitted["gender"].settings["score"] == "male"


def test_the_report_names_every_attribute(fitted, reports) -> None:
    assert any(line.startswith("age: held-out accuracy") for line in reports)
    assert any("smile" in line and "conditioned on age" in line for line in reports)


def test_naming_the_conditions_projects_exactly_these(probe, samples) -> None:
    config = ProcedureConfig(watch=("age", "yaw"), condition=("age", "yaw"), layers=None, way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    assert smile.settings["conditioned_on"] == ["age", "yaw"]
    assert smile.layers is None
    assert abs(float(smile.normal @ probe.perception.age)) < 0.03


def test_kin_are_not_held_still_against_each_other(probe, samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentedit.directions.fitting.study.KIN", (frozenset({"age", "smile"}),))
    config = ProcedureConfig(watch=("age", "yaw"), layers=None, way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    assert "age" not in smile.settings["conditioned_on"]
    assert "age" not in smile.metrics["leakage"]


def test_no_conditions_and_the_normal_is_the_machines_own(probe, samples) -> None:
    config = ProcedureConfig(watch=(), condition=(), layers="0-3", way="normal", probes=16)
    smile = fit_attributes(probe, samples, ["smile"], config=config)["smile"]
    torch.testing.assert_close(smile.normal, smile.svm_normal)
    assert smile.layers == (0, 1, 2, 3)


def test_same_seed_same_directions(probe, samples) -> None:
    config = ProcedureConfig(watch=(), probes=16)
    first, second = (fit_attributes(probe, samples, ["age"], config=config)["age"] for _ in range(2))
    assert torch.equal(first.normal, second.normal)
    assert first.calibration == second.calibration


def test_labels_of_ones_own_need_no_perception(probe, samples) -> None:
    """A label that the perception network does not know is separated and calibrated on the labels."""
    truth = np.random.RandomState(4).randn(samples.w.shape[1])
    own = LabelledLatents(samples.w, {"dimple": (samples.w @ truth > 0).astype(float)}, {}, samples.fingerprint)
    direction = fit_attributes(probe, own, ["dimple"])["dimple"]
    assert direction.accuracy is not None
    assert direction.accuracy > 0.95
    assert direction.unit == "probability"
    assert direction.calibration is not None
    assert direction.calibration.method == "labels"


def test_unknown_attributes_list_the_known_ones(probe, samples) -> None:
    with pytest.raises(DirectionError, match=r"Unknown attribute 'halo'\. Known: age, smile, yaw, male, rare"):
        fit_attributes(probe, samples, ["halo"])
    with pytest.raises(DirectionError, match="Unknown attribute 'halo' to condition on"):
        fit_attributes(probe, samples, ["age"], config=ProcedureConfig(condition=("halo",), probes=4))


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(DirectionError, match=r"way='diagonal' is unknown\. Choose normal, pattern or auto"):
        ProcedureConfig(way="diagonal")


def test_a_direction_without_effect_is_refused(probe, samples) -> None:
    labels = np.random.default_rng(0).standard_normal(len(samples))
    # Shuffled ages teach a direction that has nothing to do with age; pointing it down makes the score fall.
    fooled = LabelledLatents(samples.w, {"age": -samples.scores["age"] + 0.01 * labels}, {"age": "years"}, None)
    with pytest.raises(DirectionError, match="does not raise its score"):
        fit_attributes(probe, fooled, ["age"], config=ProcedureConfig(watch=(), way="normal", probes=8))


def test_scores_that_turn_back_far_out_are_left_out_of_the_calibration(probe, samples, perception) -> None:
    """Broken pictures score anything: here they look old at the young end, and young at the old one."""

    def look(images: torch.Tensor) -> SimpleNamespace:
        age = perception.perceive(images).scores()["age"]
        return SimpleNamespace(scores=lambda: {"age": torch.where((age - 40).abs() > 30, 80 - age + 40, age)})

    broken = SimpleNamespace(perceive=look)
    ws = probe.spread_ws(samples.w[:32])
    direction = Direction("age", perception.age, unit="years")
    found = calibrate_by_moving(Probe(probe.generator, broken), direction, ws, score="age", half=6.0, points=25)
    assert found.scores[0] >= 10
    assert found.scores[-1] <= 70
    assert found.slope == pytest.approx(8, rel=0.05)


# --- reach --------------------------------------------------------------------------------------------------------


def test_reach_corrects_a_calibration_that_is_off(fitted, probe, faces) -> None:
    age = fitted["age"]
    known = age.calibration
    assert known is not None
    wrong = age.with_(calibration=type(known)(known.distances, tuple(40 + 2 * (s - 40) for s in known.scores)))
    once = scores(probe, faces + wrong.offset(faces, 10.0, current=scores(probe, faces, "age")), "age")
    assert float((once - scores(probe, faces, "age")).mean()) < 7
    result = reach(wrong, faces, 10.0, lambda ws: scores(probe, ws, "age"))
    torch.testing.assert_close(result.score - result.start, torch.full([64], 10.0), atol=0.5, rtol=0)
    after = scores(probe, faces + wrong.displacement(faces, result.distance), "age")
    torch.testing.assert_close(after, result.score, atol=1e-3, rtol=0)


def test_reach_meets_a_target_on_every_face(fitted, probe, faces) -> None:
    result = reach(fitted["smile"], faces, 0.9, lambda ws: scores(probe, ws, "smile"))
    assert float((result.score - 0.9).abs().max()) < 0.02


def test_reach_never_ends_further_from_the_target_than_it_started(fitted, probe, faces) -> None:
    """Against a measure that moves the other way the best that can be done is nothing."""
    result = reach(fitted["age"], faces, 10.0, lambda ws: 80 - scores(probe, ws, "age"))
    assert bool(((result.score - result.target).abs() <= (result.start - result.target).abs()).all())


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_evaluation_measures_what_units_come_to(fitted, probe, samples, tmp_path) -> None:
    fresh = LabelledLatents(samples.w[:800], {k: v[:800] for k, v in samples.scores.items()}, samples.units)
    age = evaluate_direction(probe, fitted["age"], fresh, probes=24)
    assert age.accuracy_ends > 0.95
    assert age.accuracy_ends > age.accuracy_all > 0.7
    for amounts in (age.calibrated, age.corrected):
        assert amounts is not None
        assert amounts.amount == 15
        assert amounts.mean == pytest.approx(15, abs=1)
        assert amounts.success > 0.95
    assert np.all(np.diff(age.curve["median"]) > 0)
    smile = evaluate_direction(probe, fitted["smile"], fresh, probes=24)
    assert smile.corrected is not None
    assert smile.corrected.mean == pytest.approx(0.9, abs=0.05)
    assert max(smile.leakage.values()) < 0.25
    calibration_plot(fitted["smile"], smile, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_evaluation_of_an_unknown_attribute_is_refused(fitted, probe, samples) -> None:
    stranger = fitted["age"].with_(name="charm", settings={})
    with pytest.raises(DirectionError, match=r"Nothing measures 'charm'.*Known: age, smile"):
        evaluate_direction(probe, stranger, samples)


def test_a_strip_goes_from_low_to_high(fitted, probe, faces) -> None:
    rows = strip(probe, fitted["age"], faces[:2], [-1.0, 0.0, 1.0])
    assert [len(row) for row in rows] == [3, 3]
    assert rows[0][0].size == (24, 6)  # w_dim x layers: the toy generator's picture
    assert rows[0][0].tobytes() != rows[0][2].tobytes()
    assert spread_of(Direction("d", torch.ones(24)), faces) == 1.0


def test_leakage_is_measured_in_spreads(probe, samples, perception) -> None:
    ws = probe.spread_ws(samples.w[:32])
    age = Direction("age", perception.age)
    leakage = LeakageMeter(probe, ws, own="age", spreads={"age": 4.0, "yaw": 2.0}).measure(age, 0.5)
    assert leakage.own == pytest.approx(8 * 1.0 / 4, rel=1e-4)
    assert leakage.others["yaw"] == pytest.approx(0, abs=1e-4)
    assert leakage.identity == pytest.approx(0, abs=1e-4)


def test_smaller_shares_can_be_asked_for(probe, samples) -> None:
    config = ProcedureConfig(fit=FitConfig(share=0.02), watch=(), condition=(), layers=None, way="normal", probes=8)
    assert fit_attributes(probe, samples, ["age"], config=config)["age"].settings["trained"] == 112
