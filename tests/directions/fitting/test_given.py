"""Units for directions that came from elsewhere."""

from __future__ import annotations

import pytest
import torch

from latentedit.directions import (
    Direction,
)
from latentedit.directions.fitting.given import calibrate_given
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError
from latentedit.networks import fingerprint


def test_an_imported_direction_is_turned_and_measured(generator, perception) -> None:
    probe = Probe(generator, perception, batch=256)
    backwards = Direction("age", -perception.age, fingerprint=fingerprint(generator))
    found = calibrate_given(probe, backwards, None)
    torch.testing.assert_close(found.normal, perception.age)
    assert found.unit == "years"
    assert found.calibration is not None
    assert found.calibration.slope == pytest.approx(8, rel=0.05)
    other = Direction("charm", perception.smile)
    assert calibrate_given(probe, other, None) is other
    assert calibrate_given(probe, other, "smile").unit == "probability"
    with pytest.raises(DirectionError, match="Unknown attribute 'halo'"):
        calibrate_given(probe, other, "halo")
