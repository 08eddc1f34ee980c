"""``optimize``: gradient descent from the average face, on one w for all layers first and on W+ and noise then."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from latentedit.inversion.config import InversionConfig
from latentedit.inversion.descent import Place, descended, seek
from latentedit.inversion.methods.encoder import encoded
from latentedit.inversion.problem import Plan, Problem, Solution, Stage

STEPS = 500
_WEIGHT_SHARE = 0.4


@dataclass(frozen=True)
class OptimizeMethod:
    """Needs nothing but the generator."""

    name: str = "optimize"
    needs: tuple[()] = ()

    def plan(self, config: InversionConfig) -> Plan:
        total = STEPS if config.steps is None else config.steps
        share = _WEIGHT_SHARE if config.weight_share is None else config.weight_share
        weights = round(share * total) if config.refine == "weights" else 0
        return Plan(total - weights, weights)

    def solve(self, problem: Problem) -> Solution:
        config, plan = problem.config, self.plan(problem.config)
        one = round(config.w_share * plan.latent)
        place, _ = seek(problem, Stage("w", 0, one, plan.total), self._start(problem))
        wide = replace(place, u=place.u.expand(-1, problem.generator.num_ws, -1).contiguous())
        return descended(problem, Stage("w+", one, plan.latent - one, plan.total), wide, plan)

    def _start(self, problem: Problem) -> Place:
        space = problem.bench.space
        u = space.from_ws(self._first(problem)).mean(dim=1, keepdim=True)
        return Place(space, u, problem.stored_noise)

    def _first(self, problem: Problem) -> Tensor:
        if problem.config.start == "encoder":
            return encoded(problem)
        return problem.bench.space.center.expand(1, problem.generator.num_ws, -1)


METHOD = OptimizeMethod()
