"""What a method of inversion is."""

from __future__ import annotations

from typing import Literal, Protocol

from latentedit.inversion.config import InversionConfig
from latentedit.inversion.problem import Plan, Problem, Solution


class Method(Protocol):
    """A way to find the code of a photo. One object serves all photos and threads: it keeps nothing."""

    @property
    def name(self) -> str:
        """The name that users give."""
        ...

    @property
    def needs(self) -> tuple[Literal["encoder", "perception"], ...]:
        """Parts of the model, beside the generator, that it cannot do without."""
        ...

    def plan(self, config: InversionConfig) -> Plan:
        """How many steps it takes at most."""
        ...

    def solve(self, problem: Problem) -> Solution:
        """The code of one photo; the same whatever else is inverted in the same call or at the same time."""
        ...
