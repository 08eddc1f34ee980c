"""`Direction`: geometry, amounts in units, its file, and whose it is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentedit.directions import Calibration, Direction, OutOfRangeWarning
from latentedit.directions.direction import from_file
from latentedit.errors import DirectionError, FingerprintError, LatentError, LayerError, OutputError

NORMAL = torch.tensor([3.0, 4.0, 0.0])


def age(**changes: object) -> Direction:
    known = Calibration((-3.0, 3.0), (20.0, 80.0))
    return Direction("age", NORMAL, intercept=1.0, unit="years", calibration=known).with_(**changes)


def smile(**changes: object) -> Direction:
    known = Calibration((-2.0, 2.0), (0.1, 0.9), bounded=True)
    return Direction("smile", NORMAL, unit="probability", calibration=known).with_(**changes)


def some_ws() -> torch.Tensor:
    return torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))


def test_normal_becomes_a_unit_vector() -> None:
    torch.testing.assert_close(age().normal, torch.tensor([0.6, 0.8, 0.0]))
    rows = Direction("d", torch.arange(1.0, 7).reshape(2, 3)).normal
    assert float(rows.square().sum(1).mean()) == pytest.approx(1)


def test_distance_is_signed_and_from_the_hyperplane() -> None:
    ws = torch.tensor([1.0, 2.0, 9.0]).expand(1, 6, 3)
    assert float(age().distance(ws)) == pytest.approx(0.6 + 1.6 + 1.0)


@pytest.mark.parametrize("layers", [None, (1, 2), (5,)])
@pytest.mark.parametrize("normal", [NORMAL, torch.randn(6, 3, generator=torch.Generator().manual_seed(1))])
def test_moving_by_a_distance_adds_exactly_that(normal: torch.Tensor, layers: tuple[int, ...] | None) -> None:
    direction = age(normal=normal, layers=layers)
    ws, amount = some_ws(), torch.tensor([2.0, -1.0, 0.0, 0.5])
    moved = ws + direction.displacement(ws, amount)
    torch.testing.assert_close(direction.distance(moved), direction.distance(ws) + amount)
    still = [layer for layer in range(6) if layers is not None and layer not in layers]
    torch.testing.assert_close(moved[:, still], ws[:, still], atol=0, rtol=0)


def test_layers_of_an_edit_override_the_directions_own() -> None:
    ws = some_ws()
    delta = age(layers=(0, 1)).displacement(ws, 1.0, layers=(4,))
    assert delta[:, 4].abs().sum() > 0
    assert delta[:, :4].abs().sum() == 0


def test_years_are_a_change() -> None:
    ws = some_ws()
    torch.testing.assert_close(age().distance_for(ws, 10.0), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(age().score(ws + age().offset(ws, 10.0)), age().score(ws) + 10, atol=1e-3, rtol=0)


def test_years_start_from_the_measured_age_where_it_is_known() -> None:
    bent = age(calibration=Calibration((0.0, 1.0, 2.0), (20.0, 30.0, 70.0)))
    current = torch.tensor([20.0, 25.0, 30.0, 50.0])
    wanted = torch.tensor([1.0, 0.625, 0.25, 0.25])
    torch.testing.assert_close(bent.distance_for(some_ws(), 10.0, current=current), wanted)


def test_probabilities_are_a_target() -> None:
    ws = some_ws()
    moved = ws + smile().offset(ws, 0.7)
    torch.testing.assert_close(smile().score(moved), torch.full([4], 0.7))


def test_a_saturated_measured_score_starts_from_the_latents_own_distance() -> None:
    """A measured 0.95 says only that a face is beyond the end of the curve; its distance says how far."""
    ws = torch.tensor([6.0, 8.0, 0.0]).expand(1, 6, 3) / 2  # distance 5, the curve ends at 2
    distance = smile().distance_for(ws, 0.5, current=torch.tensor([0.95]))
    torch.testing.assert_close(distance, torch.tensor([-5.0]))


def test_beyond_the_measured_range_it_stops_and_says_so() -> None:
    ws = torch.zeros(1, 6, 3)
    with pytest.warns(
        OutOfRangeWarning, match=r"smile would have to reach 0\.95, .* from 0\.1 to 0\.9; .* stops there"
    ):
        torch.testing.assert_close(smile().distance_for(ws, 0.95), torch.tensor([2.0]))
    with pytest.warns(OutOfRangeWarning, match=r"age would have to reach 110 years, .* from 5 to 95 years"):
        moved = age(intercept=0.0).distance_for(ws, 60.0)
    torch.testing.assert_close(moved, torch.tensor([4.5]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(smile().distance_for(ws, 0.92), torch.tensor([2.0]))


def test_inside_the_measured_range_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smile().distance_for(torch.zeros(1, 6, 3), 0.9)


@pytest.mark.parametrize("amount", [-0.1, 1.5, 8.0])
def test_a_probability_outside_0_and_1_is_refused(amount: float) -> None:
    with pytest.raises(DirectionError, match=rf"smile={amount:g} is no score.*smile=0\.8"):
        smile().offset(some_ws(), amount)


def test_amounts_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DirectionError, match="amount for 'age' is not finite"):
        age().offset(some_ws(), float("nan"))


def test_without_calibration_units_are_refused_and_the_way_out_is_named() -> None:
    with pytest.raises(DirectionError, match=r"'age' has no calibration.*distance=\{'age': 2\.0\}"):
        age(calibration=None).offset(some_ws(), 10.0)


def test_latents_of_another_shape_are_refused() -> None:
    with pytest.raises(LatentError, match=r"w_dim 3, but the latents have shape \[1, 6, 5\]"):
        age().distance(torch.zeros(1, 6, 5))
    with pytest.raises(LatentError, match="has 6 layers, but the latents have 4"):
        age(normal=torch.ones(6, 3)).distance(torch.zeros(1, 4, 3))
    with pytest.raises(LayerError, match=r"act on layers \[9\], but the latents have 6.*0-5"):
        age(layers=(9,)).distance(torch.zeros(1, 6, 3))


@pytest.mark.parametrize("normal", [torch.zeros(3), torch.tensor([1.0, float("nan")]), torch.ones(1, 2, 3)])
def test_normals_that_are_none_are_refused(normal: torch.Tensor) -> None:
    with pytest.raises(DirectionError, match="normal of direction 'd'"):
        Direction("d", normal)


@pytest.mark.parametrize("normal", [NORMAL, torch.arange(1.0, 19).reshape(6, 3)])
def test_the_file_brings_everything_back(tmp_path: Path, normal: torch.Tensor) -> None:
    made = age(
        normal=normal, layers=(0, 3), accuracy=0.946, cosines={"smile": 0.1}, fingerprint="00ff", svm_normal=NORMAL,
        metrics={"leakage": {"smile": 0.2}}, settings={"conditioned_on": ["smile"], "penalty": 0.01},
    )  # fmt: skip
    path = made.save(tmp_path / "sub" / "age.safetensors")
    found = Direction.load(path)
    for key in ("name", "intercept", "layers", "unit", "calibration", "accuracy", "cosines", "fingerprint", "metrics",
                "settings"):  # fmt: skip
        assert getattr(found, key) == getattr(made, key), key
    torch.testing.assert_close(found.normal, made.normal, atol=0, rtol=1e-7)
    torch.testing.assert_close(found.svm_normal, NORMAL)
    assert [item.name for item in path.parent.iterdir()] == ["age.safetensors"]


def test_saving_adds_the_suffix_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = age().save(tmp_path / "a"), age().save(tmp_path / "b")
    assert first.name == "a.safetensors"
    assert first.read_bytes() == second.read_bytes()


def test_an_unwritable_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        age().save(tmp_path / "file" / "age.safetensors")


def test_another_generators_latents_are_refused() -> None:
    with pytest.raises(FingerprintError, match=r"'age' belongs to the generator aaaa, not to bbbb.*fit --attr age"):
        age(fingerprint="aaaa").check("bbbb")
    age(fingerprint="aaaa").check("aaaa")
    age(fingerprint=None).check("bbbb")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match="There is no file"):
        from_file(tmp_path / "none.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(DirectionError, match="not an intact safetensors file"):
        from_file(text)
    plain = tmp_path / "plain.safetensors"
    save_file({"normal": NORMAL}, plain)
    with pytest.raises(DirectionError, match=r"is no direction of latentedit.*direction import"):
        from_file(plain)
    damaged = tmp_path / "damaged.safetensors"
    for config in ("{", json.dumps({"nonsense": 1}), "[]"):
        save_file({"normal": NORMAL}, damaged, metadata={"format": "latentedit", "kind": "direction", "config": config})
        with pytest.raises(DirectionError, match="is damaged"):
            from_file(damaged)


@pytest.mark.parametrize(
    ("accuracy", "held", "low", "high"),
    [(1.0, 12, 0.7575, 1.0), (0.5, 100, 0.4038, 0.5962), (0.9, 360, 0.8648, 0.9270)],
)
def test_the_interval_of_an_accuracy_is_wilsons(accuracy: float, held: int, low: float, high: float) -> None:
    """Values of statsmodels' ``proportion_confint(method="wilson")``."""
    found = age(accuracy=accuracy, settings={"held_out": held}).accuracy_interval
    assert found == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_there_is_no_interval_where_nothing_is_known_of_the_samples() -> None:
    assert age(accuracy=0.9).accuracy_interval is None
    assert age(settings={"held_out": 10}).accuracy_interval is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intercept": float("nan")}, "has the intercept nan"),
        ({"accuracy": float("inf")}, "accuracy inf"),
        ({"name": ""}, "names no direction"),
        ({"unit": None}, "names no direction"),
        ({"svm_normal": torch.ones(4)}, r"hyperplane of direction 'age' has shape \[4\]"),
        ({"svm_normal": torch.tensor([0.0, float("nan"), 1.0])}, "is not finite"),
    ],
)
def test_damaged_numbers_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DirectionError, match=message):
        age(**changes)


def test_a_file_with_numbers_that_are_none_is_refused(tmp_path: Path) -> None:
    config = json.dumps({"name": "age", "unit": "years", "intercept": float("nan")})
    path = tmp_path / "nan.safetensors"
    save_file({"normal": NORMAL}, path, metadata={"format": "latentedit", "kind": "direction", "config": config})
    with pytest.raises(DirectionError, match="has the intercept nan"):
        from_file(path)
