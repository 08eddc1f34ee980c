"""Samples of the toy model, labelled once."""

from __future__ import annotations

import pytest

from latentedit.directions.fitting.labelled import LabelledLatents, SampleConfig, sample_labelled
from latentedit.directions.fitting.probe import Probe


@pytest.fixture(scope="module")
def probe(generator, perception) -> Probe:
    return Probe(generator, perception, batch=256)


@pytest.fixture(scope="module")
def samples(generator, perception) -> LabelledLatents:
    return sample_labelled(generator, perception, SampleConfig(count=4000, shard=1000, batch=250))
