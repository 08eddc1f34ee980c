"""``hybrid``: the encoder's latent, descent from there, and a small change of the generator for the rest.

Where weights are refined, the descent seeks one w for all layers among those that the mapping network gives, which
leaves the latent where edits work (Roich et al. 2022); else it goes through W+ and noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentedit.inversion.config import InversionConfig
from latentedit.inversion.descent import Place, descended
from latentedit.inversion.methods.encoder import encoded
from latentedit.inversion.problem import Plan, Problem, Solution, Stage

STEPS = 200
_WEIGHT_SHARE, _WEIGHT_SHARE_BEHIND_PIVOT = 0.4, 0.8


@dataclass(frozen=True)
class HybridMethod:
    """The default wherever a model has an encoder."""

    name: str = "hybrid"
    needs: tuple[Literal["encoder"], ...] = ("encoder",)

    def plan(self, config: InversionConfig) -> Plan:
        total = STEPS if config.steps is None else config.steps
        share = _WEIGHT_SHARE_BEHIND_PIVOT if self._seeks_pivot(config) else _WEIGHT_SHARE
        share = share if config.weight_share is None else config.weight_share
        weights = 0 if config.refine == "none" else round(share * total)
        return Plan(total - weights, weights)

    def solve(self, problem: Problem) -> Solution:
        plan, space, noise = self.plan(problem.config), problem.bench.space, problem.stored_noise
        start = encoded(problem)
        if self._seeks_pivot(problem.config):
            inner = space.within()
            place = Place(inner, inner.from_ws(start).mean(dim=1, keepdim=True), noise)
            return descended(problem, Stage("pivot", 0, plan.latent, plan.total), place, plan)
        place = Place(space, space.from_ws(start), noise)
        return descended(problem, Stage("w+", 0, plan.latent, plan.total), place, plan)

    @staticmethod
    def _seeks_pivot(config: InversionConfig) -> bool:
        return config.pivot == "w" or (config.pivot == "auto" and config.refine != "none")


METHOD = HybridMethod()
