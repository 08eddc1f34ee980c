"""The whole procedure on a generator whose ground truth is known; see conftest for the scores' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import Direction, FitConfig, ProcedureConfig, fit_attributes
from latentedit.directions.fitting.labelled import LabelledLatents, SampleConfig, sample_labelled
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError

NAMES = ("age", "smile", "yaw", "gender", "rare")


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
        start = scores(probe, faces, name)
        moved = faces + fitted[name].offset(faces, target, current=start)
        after = scores(probe, moved, name)
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
    assert fitted["gender"].settings["score"] == "gender"


def test_the_report_names_every_attribute(fitted, reports) -> None:
    assert any(line.startswith("age: held-out accuracy") for line in reports)
    assert any("smile" in line and "conditioned on age" in line for line in reports)


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
    with pytest.raises(DirectionError, match=r"Unknown attribute 'halo'\. Known: age, smile, yaw, gender, rare"):
        fit_attributes(probe, samples, ["halo"])
    with pytest.raises(DirectionError, match="Unknown attribute 'halo' to condition on"):
        fit_attributes(probe, samples, ["age"], config=ProcedureConfig(condition=("halo",), probes=4))


def test_smaller_shares_can_be_asked_for(probe, samples) -> None:
    config = ProcedureConfig(fit=FitConfig(share=0.02), watch=(), condition=(), layers=None, way="normal", probes=8)
    assert fit_attributes(probe, samples, ["age"], config=config)["age"].settings["trained"] == 112
