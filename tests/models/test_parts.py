"""Parts that are built when they are first asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Thread

import pytest

from latentedit.models.parts import Deferred, Part


@dataclass(frozen=True, eq=False)
class Box:
    name: str
    part: Part[int] = Part()  # noqa: RUF009


def test_a_value_none_and_a_deferred_value_read_alike() -> None:
    assert (Box("a").part, Box("a", 3).part, Box("a", Deferred(lambda: 3)).part) == (None, 3, 3)
    assert replace(Box("a", Deferred(lambda: 3)), name="b").part == 3


def test_it_is_made_once_by_however_many_threads() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    box = Box("a", Deferred(make))
    seen: list[int | None] = []
    threads = [Thread(target=lambda: seen.append(box.part)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, seen) == ([1], [1] * 8)


def test_an_error_is_raised_to_every_caller() -> None:
    box = Box("a", Deferred(lambda: 1 // 0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            box.part  # noqa: B018
