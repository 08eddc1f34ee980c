"""Positions, easings and paths of a film."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.editing.timeline import EASINGS, along, positions
from latentedit.latents import seed_z


def test_cubic_is_smooth_where_lines_bend() -> None:
    keys = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0], [2.0, 2.0]])
    at = positions(4, 400, loop=True)
    bend = {}
    for curve in ("linear", "cubic"):
        path = along(keys, at, curve=curve, loop=True)
        bend[curve] = float((path.roll(-1, 0) - 2 * path + path.roll(1, 0)).norm(dim=1).max())
    assert bend["cubic"] < 0.1 * bend["linear"]


def test_cubic_of_points_on_a_parabola_is_that_parabola_inside() -> None:
    """A spline through many samples of a smooth curve follows it to the fourth order."""
    t = torch.linspace(-1, 1, 21).double()
    keys = torch.stack([t, t**2], 1)
    path = along(keys, np.linspace(5, 15, 41), curve="cubic")
    torch.testing.assert_close(path[:, 1], path[:, 0] ** 2, atol=1e-3, rtol=0)


def test_slerp_keeps_the_length_of_z() -> None:
    z = seed_z([0, 1, 2], 512)
    z = z / z.norm(dim=1, keepdim=True)
    path = along(z, positions(3, 30, loop=True), curve="slerp", loop=True)
    torch.testing.assert_close(path.norm(dim=1), torch.ones(30), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", EASINGS)
def test_easings_lead_from_0_to_1_and_never_back(name: str) -> None:
    shares = EASINGS[name](np.linspace(0, 1, 101))
    assert (shares[0], shares[-1]) == (0, pytest.approx(1))
    assert (np.diff(shares) >= 0).all()


def test_smooth_easing_starts_and_stops_without_speed() -> None:
    at = positions(3, 201, loop=False, easing="smooth")
    speed = np.diff(at)
    assert speed[0] < 0.03 * speed.max()
    assert speed[99] < 0.03 * speed.max()
    assert at[100] == pytest.approx(1)
