"""The one table: what is in it can be asked for everywhere, and nothing else."""

from __future__ import annotations

import sys
import types

import pytest
from click.testing import CliRunner
from solving import solve

from latentedit.codes import Code
from latentedit.errors import LatentEditError, ModelError
from latentedit.images import to_pil
from latentedit.inversion import InversionConfig, invert
from latentedit.inversion.methods import table
from latentedit.inversion.methods.table import AUTO, CHOICES, METHODS, find_method
from latentedit.inversion.problem import Plan, Solution


def test_every_name_leads_to_a_method_of_that_name(model):
    assert ("auto", *METHODS) == CHOICES
    assert set(AUTO) <= set(METHODS)
    for name in METHODS:
        assert find_method(name, model).name == name


def test_methods_are_chosen_by_what_the_model_has(model, new_model):
    bare = new_model(encoder=False)
    assert find_method("auto", model).name == "hybrid"
    assert find_method("auto", bare).name == "optimize"
    known = r"method 'magic' is unknown. Choose one of auto, encoder, optimize, hybrid"
    with pytest.raises(LatentEditError, match=known):
        find_method("magic", model)
    with pytest.raises(ModelError, match=r"'tiny' has no encoder.*optimize"):
        find_method("hybrid", bare)


def test_a_new_method_is_one_file_and_its_line(model, targets, monkeypatch):
    class Average:
        name = "average"
        needs = ()

        def plan(self, config):
            return Plan()

        def solve(self, problem):
            generator = problem.generator
            return Solution(Code(generator.mapping.w_avg.expand(1, generator.num_ws, -1)))

    module = types.ModuleType("latentedit.inversion.methods.average")
    module.METHOD = Average()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METHODS, "average", "always the same face")
    monkeypatch.setattr(table, "CHOICES", ("auto", *METHODS))
    found = invert(to_pil(targets[:1])[0], model=model, face=None, method="average")
    assert found.settings["method"] == "average"
    assert found.ws[0, 0].equal(model.generator.mapping.w_avg)
    assert solve(model, targets[:1], method="average", config=InversionConfig()).ws.equal(found.ws)


def test_the_commands_offer_what_the_table_holds():
    from latentedit.cli import edit, invert, mix

    for module in (invert, edit, mix):
        method = next(option for option in module.command.params if option.name == "method")
        assert tuple(method.type.choices) == CHOICES
    help_text = " ".join(CliRunner().invoke(invert.command, ["--help"]).output.split())
    assert all(what in help_text for what in METHODS.values())
