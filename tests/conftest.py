"""What every test relies on: nothing of the user's own is seen or changed, and the small model is the default."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTEDIT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("LATENTEDIT_MODEL", "faces64")  # pictures of 1024 px take a hundred times as long


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT
