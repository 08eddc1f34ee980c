"""Files: whole or not at all, with the user's permissions, on mounts that refuse much, and under names of any bytes."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from latentedit.errors import ModelError, OutputError
from latentedit.files import atomic_path, check_suffix, path_from_text, path_to_text, read_metadata, read_tensors


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_that_the_mask_leaves(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_mount_that_refuses_chmod_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for owner, name in ((os, "chmod"), (os, "fchmod"), (Path, "chmod")):
        monkeypatch.setattr(owner, name, refuse)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_the_mask_of_the_process_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread's new file would be open to everybody for a moment."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask was set"))
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "Choose a folder that you may write to"),
     (errno.ENAMETOOLONG, "Choose a shorter name"), (errno.EROFS, "Choose a folder that you may write to")],
)  # fmt: skip
def test_the_remedy_fits_the_failure(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(OutputError, match=remedy), atomic_path(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_no_longer_by_being_temporary(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")  # 255 bytes: the most that a file system takes
    with atomic_path(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"
    with pytest.raises(OutputError, match="Choose a shorter name"), atomic_path(tmp_path / ("n" * 300 + ".txt")) as one:
        one.write_text("x")


def test_devices_pipes_and_folders_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in (("pipe", "a pipe or a device"), ("folder", "a folder")):
        with pytest.raises(OutputError, match=f"it is {kind}"), atomic_path(tmp_path / name):
            pytest.fail("the work began")
    with pytest.raises(OutputError, match="a pipe or a device"), atomic_path("/dev/null"):
        pytest.fail("the work began")
    assert Path("/dev/null").is_char_device()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "x"


def test_threads_that_write_one_name_leave_one_whole_file(tmp_path: Path) -> None:
    def write(text: str) -> None:
        for _ in range(50):
            with atomic_path(tmp_path / "a.txt") as temporary:
                temporary.write_text(text * 1000)

    threads = [threading.Thread(target=write, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "a.txt").read_text()
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["plain.jpg", "größe.jpg", os.fsdecode(b"caf\xe9 100%.jpg")])
def test_paths_of_any_bytes_become_text_and_come_back(name: str) -> None:
    text = path_to_text("/photos/" + name)
    text.encode("utf-8")
    assert path_from_text(text) == "/photos/" + name


def test_suffixes_are_promises() -> None:
    check_suffix("a.NPZ", (".safetensors", ".npz"), "an inversion")
    with pytest.raises(OutputError, match=r"'x\.jpg' is no name for an inversion\. End it in \.safetensors or \.npz\."):
        check_suffix("x.jpg", (".safetensors", ".npz"), "an inversion")


def test_a_pipe_is_no_file_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for read in (read_metadata, read_tensors):
        with pytest.raises(ModelError, match="is a pipe or a device"):
            read(tmp_path / "pipe.safetensors")
