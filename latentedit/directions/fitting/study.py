"""Measurements about one generator that the directions of all attributes share.

Legend: ``N`` latents, ``L`` layers, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentedit.attributes import WORN
from latentedit.directions.fitting.config import ProcedureConfig
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.light import LIGHT
from latentedit.directions.fitting.probe import LeakageMeter, Probe, score_spreads
from latentedit.directions.fitting.regression import Geometry, linear_functional

KIN = (frozenset({"makeup", "lipstick"}), frozenset({"age", "young", "gray_hair"}))
"""Attributes of which one is part of the other: they are not held still against each other."""

LIGHT_SHARE = 1 / 3
"""Of its spread among samples, what a change of light counts by: pictures differ in light far more than one may differ
from itself."""


@dataclass(frozen=True, eq=False)
class Study:
    """One labelled set as all attributes use it.

    ``keys`` maps the names of directions to their scores, ``ws`` [N, L, D] are the latents that are moved and rendered,
    ``geometry`` is that of the whole set. Of every name whose score the perception network knows, ``spreads`` holds the
    standard deviation and ``functionals`` the gradient [D].
    """

    probe: Probe
    labelled: LabelledLatents
    keys: Mapping[str, str]
    config: ProcedureConfig
    ws: Tensor
    geometry: Geometry
    spreads: Mapping[str, float]
    functionals: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, probe: Probe, labelled: LabelledLatents, keys: Mapping[str, str], config: ProcedureConfig) -> Study:
        """The measurements that ``labelled`` latents give."""
        chosen = np.random.default_rng(config.seed).permutation(len(labelled))[: config.probes]
        ws = probe.spread_ws(labelled.w[chosen])
        known = probe.scores(ws[:1])
        spreads = score_spreads(labelled.scores, labelled.units)
        seen = {name: key for name, key in keys.items() if key in known}

        def functional(key: str) -> np.ndarray:
            unit = labelled.units.get(key, "")
            return linear_functional(labelled.w, labelled.scores[key], unit, seed=config.seed)[0]

        return cls(
            probe,
            labelled,
            dict(keys),
            config,
            ws,
            Geometry.of(labelled.w),
            {name: spreads[key] * (LIGHT_SHARE if key in LIGHT else 1) for name, key in seen.items()},
            {name: functional(key) for name, key in seen.items()},
        )

    def meter(self, name: str) -> LeakageMeter:
        """What looks at moves along the direction ``name``: at its own score, and at all that is to stay."""
        own = self.keys[name]
        watched = {self.keys[other]: spread for other, spread in self.spreads.items() if not kin(own, self.keys[other])}
        return LeakageMeter(self.probe, self.ws, own=own, spreads=watched)


def kin(a: str, b: str) -> bool:
    """Whether holding ``b`` still would take from ``a`` what belongs to it."""
    return a != b and (any({a, b} <= group for group in KIN) or (a in WORN and b in LIGHT))
