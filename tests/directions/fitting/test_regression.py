"""Projections and functionals: what is orthogonal to what, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.directions.fitting.regression import Geometry, linear_functional, project_out
from latentedit.errors import DirectionError

RNG = np.random.default_rng(0)


def test_one_functional_is_equation_6_of_interfacegan() -> None:
    a, b = RNG.standard_normal((2, 16))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    expected = a - (a @ b) * b
    np.testing.assert_allclose(project_out(a, [b]), expected / np.linalg.norm(expected), atol=1e-12)


@pytest.mark.parametrize("metric", [False, True])
def test_several_functionals_are_left_still_and_dependent_ones_do_no_harm(metric: bool) -> None:
    a, b, c, d = RNG.standard_normal((4, 16))
    factor = RNG.standard_normal((16, 16))
    covariance = factor @ factor.T if metric else None
    result = project_out(a, [b, c, b + c, d], covariance)
    np.testing.assert_allclose([result @ b, result @ c, result @ d], 0, atol=1e-7)
    assert np.linalg.norm(result) == pytest.approx(1)
    assert result @ a > 0


def test_a_metric_takes_the_others_patterns_away() -> None:
    covariance = np.diag([4.0, 1.0, 1.0])
    start, other = np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0])
    taken = np.array([4.0, 1.0, 1.0])
    expected = start - taken * (other @ start) / (other @ taken)
    np.testing.assert_allclose(project_out(start, [other], covariance), expected / np.linalg.norm(expected), atol=1e-12)


def test_nothing_left_is_an_error() -> None:
    a, b = RNG.standard_normal((2, 16))
    with pytest.raises(DirectionError, match="Nothing is left"):
        project_out(a + b, [a, b])


def test_the_functional_of_a_score_is_found_among_correlated_latents() -> None:
    w = RNG.standard_normal((5000, 24)) @ (np.eye(24) + RNG.standard_normal((24, 24)) / 5)
    truth = RNG.standard_normal(24) / 24**0.5
    scores = 1 / (1 + np.exp(-3 * (w @ truth)))
    scores[::7] = np.nan
    found, agreement = linear_functional(w.astype(np.float32), scores, "probability")
    assert found @ truth / np.linalg.norm(truth) > 0.99
    assert agreement > 0.95
    with pytest.raises(DirectionError, match="Too few latents are labelled"):
        linear_functional(w, np.full(5000, np.nan), "years")


def test_patterns_follow_the_covariance() -> None:
    w = RNG.standard_normal((50_000, 3)) * np.array([3.0, 1.0, 1.0])
    pattern = Geometry.of(w).pattern(np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(pattern, np.array([9, 1, 0]) / 82**0.5, atol=0.02)


def test_strain_counts_standard_deviations_and_the_pattern_has_the_least() -> None:
    factor = RNG.standard_normal((6, 6))
    geometry = Geometry(np.zeros(6), factor @ factor.T)
    assert Geometry(np.zeros(2), np.diag([4.0, 1.0])).strain(np.array([2.0, 0.0])) == pytest.approx(1)
    functional = RNG.standard_normal(6)
    pattern = geometry.pattern(functional)
    least = geometry.strain(pattern / (functional @ pattern))
    for _ in range(20):
        other = pattern + 0.3 * RNG.standard_normal(6)
        assert geometry.strain(other / (functional @ other)) >= least
