"""Arrays out of files of every kind, none of them executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from array_files import write

from latentedit.directions import (
    import_directions,
)
from latentedit.errors import DirectionError, LatentError, UnsafeCheckpointError


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pwned",)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_hostile_pickles_are_refused_and_not_run(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / f"a{suffix}", {"age": Hostile()})
    with pytest.raises(UnsafeCheckpointError, match="system"):
        import_directions(path, tiny)
    assert not (tmp_path / "pwned").exists()


def test_unreadable_files_are_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(LatentError, match="There is no file"):
        import_directions(tmp_path / "none.npy", tiny)
    for name, data in (("a.npy", b"hello"), ("a.npz", b"PK"), ("a.pt", pickle.dumps([])), ("a.npy", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LatentError, match=r"cannot be read|holds no arrays"):
            import_directions(tmp_path / name, tiny)
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(LatentError, match=r"no file of arrays.*\.npy, \.npz"):
        import_directions(tmp_path / "a.txt", tiny)
    with pytest.raises(DirectionError, match="not finite"):
        import_directions(write(tmp_path / "nan.npy", np.full(12, np.nan)), tiny)
