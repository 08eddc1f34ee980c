"""`latentedit doctor` finds what is missing, and says what to do."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from latentedit.cli import _checks, main
from latentedit.cuda_ops import native

SECTIONS = ["Installation", "Devices", "Kernels", "Model", "Faces", "Films"]


def doctor() -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    return result.exit_code, {(check["section"], check["name"]): check for check in report["checks"]}


def test_this_environment_is_complete() -> None:
    status, checks = doctor()
    assert [check for check in checks.values() if check["status"] == "missing"] == []
    assert status == 0
    assert list(dict.fromkeys(section for section, _ in checks)) == SECTIONS
    assert checks["Installation", "torch"]["found"] == metadata.version("torch")
    assert checks["Faces", "dlib"]["found"] == metadata.version("dlib-bin")
    assert "hashes agree" in checks["Model", "faces64"]["found"]
    assert "smile" in checks["Model", "directions"]["found"]


def test_missing_requirement_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2", "no-such-package>=3", 'lpips>=1; extra == "x"'])
    status, checks = doctor()
    assert status == 1
    found = checks["Installation", "no-such-package"]
    assert found["status"] == "missing"
    assert found["remedy"] == 'Run: pip install "no-such-package>=3"'
    assert ("Installation", "lpips") not in checks


def test_outdated_requirement_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["click>=999"])
    status, checks = doctor()
    assert status == 1
    assert checks["Installation", "click"]["found"] == f"{metadata.version('click')}, but latentedit needs >=999"


def test_missing_dlib_and_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, checks = doctor()
    assert status == 1
    assert "pip install dlib" in checks["Faces", "dlib"]["remedy"]
    assert checks["Faces", "landmarks"]["status"] == "missing"
    assert "pip install face_recognition_models" in checks["Faces", "landmarks"]["remedy"]


def test_weights_of_another_package_are_told_and_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("latentedit.models.locations.package_folder", lambda: None)
    status, checks = doctor()
    assert status == 0
    assert checks["Model", "ffhq"]["status"] == "note"
    assert checks["Model", "ffhq"]["remedy"].startswith("Run: latentedit model download ffhq (38 MB")
    assert checks["Model", "default"]["found"] == "faces64"
    monkeypatch.setattr("latentedit.models.locations.package_folder", lambda: tmp_path)
    _, checks = doctor()
    assert checks["Model", "ffhq"]["status"] == "ok"
    assert str(tmp_path) in checks["Model", "ffhq"]["found"]


def test_absent_and_damaged_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("latentedit.models.locations.embedded_folder", lambda: tmp_path)
    status, checks = doctor()
    assert status == 1
    assert "no model.json" in checks["Model", tmp_path.name]["found"]
    manifest = {"format": "latentedit-model", "version": 1, "files": {"generator.safetensors": {"sha256": "0"}}}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    (tmp_path / "generator.safetensors").write_bytes(b"damaged")
    status, checks = doctor()
    assert status == 1
    assert "does not have the SHA-256" in checks["Model", tmp_path.name]["found"]
    assert "Reinstall" in checks["Model", tmp_path.name]["remedy"]


def test_kernels_that_cannot_be_built_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    report = native.BackendReport("cpu", "reference", "no compiler", "Install g++.")
    monkeypatch.setattr(native, "backend_report", lambda: [report])
    _, checks = doctor()
    found = checks["Kernels", "cpu"]
    assert (found["status"], found["found"], found["remedy"]) == ("note", "reference: no compiler", "Install g++.")


def test_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[_checks.Check]:
        raise OSError("libgomp.so.1:\ncannot open shared object file")

    monkeypatch.setitem(_checks._SECTIONS, "Kernels", broken)
    status, checks = doctor()
    assert status == 1
    assert checks["Kernels", "kernels"]["found"] == "OSError: libgomp.so.1: cannot open shared object file"


def test_text_has_every_section_and_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if line in SECTIONS] == SECTIONS
    assert any(line.split()[:2] == ["MISSING", "dlib"] for line in lines)
    assert any(line.strip().startswith("-> Run: pip install dlib") for line in lines)
    assert lines[-1] == "1 missing; see the remedies above."
