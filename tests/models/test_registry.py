"""The registry of named models, and downloads from a local server."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.cli import main
from latentedit.errors import ModelError
from latentedit.faces import CropTemplate
from latentedit.models import Model, load_model, registered_names, save_model, save_network
from latentedit.models.download import CHUNK, Known, fetch, resolve
from latentedit.models.registry import Companions, add_model, remove_model
from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig, PerceptionConfig, PerceptionNetwork

CONFIG = GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16)


def encoder(num_ws: int = 6) -> Encoder:
    return Encoder(EncoderConfig(resolution=16, num_ws=num_ws, w_dim=16, channels=(8, 8, 8)))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    torch.save(to_rosinality(Generator(CONFIG)), tmp_path / "faces.pt")
    return tmp_path / "faces.pt"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_registered_model_is_found_by_name_and_removed(checkpoint: Path) -> None:
    add_model(checkpoint, "mine")
    assert registered_names() == ["mine"]
    model = load_model("mine")
    assert (model.name, model.resolution, model.template) == ("mine", 16, CropTemplate())
    remove_model("mine")
    assert registered_names() == []
    with pytest.raises(ModelError, match="No model 'mine' is registered"):
        remove_model("mine")


def test_companions_are_added_later_and_stay(checkpoint: Path, tmp_path: Path) -> None:
    add_model(checkpoint)
    save_network(tmp_path / "e.safetensors", encoder())
    save_network(tmp_path / "p.safetensors", PerceptionNetwork(PerceptionConfig()))
    (tmp_path / "d").mkdir()
    save_file({"normal": torch.ones(16)}, tmp_path / "d" / "age.safetensors")
    add_model("faces", companions=Companions(encoder=tmp_path / "e.safetensors", template=CropTemplate(0.9, 0.1)))
    add_model("faces", companions=Companions(perception=tmp_path / "p.safetensors", directions=tmp_path / "d"))
    add_model("faces", companions=Companions(licence="mine", card="# Faces"))
    model = load_model("faces")
    assert (model.template, model.licence, model.card) == (CropTemplate(0.9, 0.1), "mine", "# Faces")
    assert model.encoder is not None
    assert model.path is not None
    assert (model.path / "perception.safetensors").is_file()
    assert model.direction_folders == (model.path / "directions",)


def test_an_encoder_of_another_shape_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "e.safetensors", encoder(num_ws=8))
    with pytest.raises(ModelError, match=r"gives \[8, 16\], but the generator takes \[6, 16\]"):
        add_model(checkpoint, companions=Companions(encoder=tmp_path / "e.safetensors"))
    assert registered_names() == []


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "faces64", "x" * 65, "sp ace"])
def test_names_that_are_refused(name: str, checkpoint: Path) -> None:
    if name:
        with pytest.raises(ModelError, match="name"):
            add_model(checkpoint, name)
    with pytest.raises(ModelError, match="name"):
        remove_model(name)


def test_a_taken_name_needs_replace(checkpoint: Path, tmp_path: Path) -> None:
    add_model(checkpoint)
    with pytest.raises(ModelError, match="registered already"):
        add_model(checkpoint)
    add_model(checkpoint, overwrite=True)
    assert registered_names() == ["faces"]


def test_commands_from_adding_to_removing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "CARD.md").write_text("# A card\n")
    output = run("model", "add", checkpoint, "--name", "mine", "--template", "0.9,0.05", "--card", tmp_path / "CARD.md")
    assert "use it with --model mine" in output
    listed = run("model", "list")
    assert "mine  16 px  generator" in listed
    assert listed.startswith("ffhq  1024 px  generator")
    shown = run("model", "show", "mine")
    assert "Generator, 16 px" in shown
    assert "scale 0.9, shift 0.05" in shown
    assert "rosinality .pt, StyleGAN2" in run("model", "show", checkpoint)
    assert run("model", "card", "mine").startswith("# A card")
    assert "removed" in run("model", "remove", "mine")
    assert "Error: No model 'mine'" in run("model", "remove", "mine", code=1)
    assert "neither 'ffhq' nor SCALE,SHIFT" in run("model", "add", checkpoint, "--template", "big", code=2)


def test_the_embedded_model_converts_by_its_name(tmp_path: Path) -> None:
    assert "largest difference of ten seeds 0 " in run("convert", "faces64", tmp_path / "out.pt")
    assert load_model(tmp_path / "out.pt").fingerprint == load_model().fingerprint


def test_convert_command_prints_the_proof(checkpoint: Path, tmp_path: Path) -> None:
    output = run("convert", checkpoint, tmp_path / "out")
    assert "note: rosinality .pt, StyleGAN2" in output
    assert output.count("largest difference 0\n") == 10
    assert load_model(tmp_path / "out").resolution == 16
    assert "Error: There is no model 'nothing'" in run("convert", "nothing", tmp_path / "x", code=1)


# --- downloads --------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """What the local server offers, and what it was asked for."""

    content: bytes
    address: str = ""
    cut: int | None = None
    tag: str = '"1"'
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def site(checkpoint: Path) -> Iterator[Site]:
    offered = Site(checkpoint.read_bytes())
    assert len(offered.content) > 3 * CHUNK

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            offered.ranges.append(asked)
            if "missing" in self.path:
                self.send_error(404)
                return
            start = 0
            if asked and self.headers.get("If-Range") == offered.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start > len(offered.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(offered.content) - start))
            self.send_header("ETag", offered.tag)
            self.end_headers()
            self.wfile.write(offered.content[start : offered.cut])
            offered.cut = None

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    offered.address = f"http://127.0.0.1:{server.server_port}/faces.pt"
    yield offered
    server.shutdown()
    server.server_close()


def test_download_command_registers_the_model(site: Site) -> None:
    assert "registered faces" in run("model", "download", site.address)
    assert load_model("faces").resolution == 16


def test_an_interrupted_download_goes_on_where_it_stopped(site: Site) -> None:
    site.cut = 2 * CHUNK + 100
    with pytest.raises(ModelError, match=r"Try again: what has arrived is kept"):
        fetch(Known(site.address, "x"))
    seen: list[tuple[int, int | None]] = []
    path = fetch(Known(site.address, "x"), progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == site.content
    assert site.ranges == [None, f"bytes={2 * CHUNK}-"]
    assert seen[-1] == (len(site.content), len(site.content))
    assert seen[0][0] > 2 * CHUNK


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site) -> None:
    site.cut = 2 * CHUNK
    with pytest.raises(ModelError):
        fetch(Known(site.address, "x"))
    site.content, site.tag = b"new" * 1000, '"2"'
    assert fetch(Known(site.address, "x")).read_bytes() == site.content


def test_the_first_hash_is_remembered_and_another_refused(site: Site, tmp_path: Path) -> None:
    path = fetch(Known(site.address, "x"))
    memory = json.loads((path.parent / "hashes.json").read_text())
    assert memory == {site.address: hashlib.sha256(site.content).hexdigest()}
    path.unlink()
    site.content += b"!"
    with pytest.raises(ModelError, match="does not have the SHA-256"):
        fetch(Known(site.address, "x"))
    assert not path.exists()


def test_a_known_hash_is_checked(site: Site) -> None:
    with pytest.raises(ModelError, match="does not have the SHA-256 00"):
        fetch(Known(site.address, "x", sha256="00" * 32))
    assert "Error: " in run("model", "download", site.address, "--sha256", "11" * 32, code=1)


def test_servers_that_refuse_or_do_not_answer(site: Site) -> None:
    with pytest.raises(ModelError, match="answered 404"):
        fetch(Known(site.address.replace("faces", "missing"), "x"))
    with pytest.raises(ModelError, match="no answer"):
        fetch(Known("http://127.0.0.1:1/x.pkl", "x"))
    with pytest.raises(ModelError, match=r"No download is known .*Known: ffhq"):
        resolve("nobody")


def test_saving_a_model_under_a_name_that_is_listed(tmp_path: Path) -> None:
    from latentedit.models import models_folder

    save_model(models_folder() / "direct", Model("direct", Generator(CONFIG)))
    assert registered_names() == ["direct"]
