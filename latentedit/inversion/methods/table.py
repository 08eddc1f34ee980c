"""The one table of methods. A new method is a file beside this one, which holds a `METHOD`, and its line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.inversion.methods.protocol import Method
    from latentedit.models import Model

METHODS: dict[str, str] = {
    "encoder": "one pass of the model's encoder",
    "optimize": "gradient descent from the average face",
    "hybrid": "the encoder, then gradient descent",
}
"""What each method does, by its name, which is also that of its file."""

AUTO = ("hybrid", "optimize")
"""What "auto" stands for: the first of these that the model has the parts for."""

CHOICES = ("auto", *METHODS)


def find_method(name: str, model: Model) -> Method:
    """The method of that name, or the one that ``"auto"`` stands for.

    Raises:
        LatentEditError: an unknown method.
        ModelError: it needs a part that the model lacks.
    """
    if name not in CHOICES:
        raise LatentEditError(f"method {name!r} is unknown.", f"Choose one of {', '.join(CHOICES)}.")
    if name == "auto":
        candidates = [_load(candidate) for candidate in AUTO]
        return next(
            (m for m in candidates if all(getattr(model, part) is not None for part in m.needs)), candidates[-1]
        )
    method = _load(name)
    for part in method.needs:
        model.require(part)
    return method


def _load(name: str) -> Method:
    return import_module(f"latentedit.inversion.methods.{name}").METHOD
