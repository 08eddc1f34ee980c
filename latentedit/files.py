"""Files: written so that a final name never holds half a result, and safetensors read with clear errors."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from latentedit.errors import ModelError, OutputError

if TYPE_CHECKING:
    from torch import Tensor


_REMEDIES = {
    errno.ENOSPC: "Free some space or choose another path.",
    errno.EDQUOT: "Free some space or choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EISDIR: "Choose another name.",
}


def cache_folder(kind: str) -> Path:
    """Folder for what can be made again: ``$LATENTEDIT_CACHE/kind``, else inside the user's cache folder."""
    root = os.environ.get("LATENTEDIT_CACHE")
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_dir("latentedit")
    return Path(root) / kind


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds, remove it otherwise.

    The temporary name keeps the suffix of ``path``, so writers that choose a format by suffix work unchanged.
    Missing parent folders are made. Interruption (Ctrl-C included) leaves an earlier ``path`` as it was. A link is
    followed: what it points to is replaced.

    Raises:
        OutputError: the folder cannot be made or written to, or ``path`` is a folder, a pipe, or a device.
    """
    final = Path(path)
    try:
        place = Path(os.path.realpath(final)) if final.is_symlink() else final
        if place.is_dir() or is_special(place):
            kind = "a folder" if place.is_dir() else "a pipe or a device"
            raise OutputError(f"Cannot write {str(final)!r}: it is {kind}.", "Choose the name of a file.")
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = _reserve(place)
    except OSError as error:
        raise _unwritable(final, error) from error
    try:
        yield temporary
        os.replace(temporary, place)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reserve(place: Path) -> Path:
    """An empty new file beside ``place``, with the permissions that the user's mask leaves: they are never changed
    afterwards, since some mounts refuse that."""
    suffix = place.suffix if len(place.suffix) <= 16 else ""
    while True:
        name = place.with_name(f".{place.stem[:32]}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
        with suppress(FileExistsError):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return name


def _unwritable(path: Path, error: OSError) -> OutputError:
    remedy = _REMEDIES.get(error.errno or 0, "Choose a folder that you may write to.")
    return OutputError(f"Cannot write {str(path)!r}: {error.strerror or error}.", remedy)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is there and neither a file nor a folder: reading a pipe can wait for ever, and renaming onto a
    device removes it."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_suffix(path: str | os.PathLike[str], allowed: Sequence[str], what: str) -> None:
    """Make sure that ``path`` ends in one of ``allowed``: a name must not promise another kind of file.

    Raises:
        OutputError: it does not.
    """
    if Path(path).suffix.lower() not in allowed:
        raise OutputError(f"{os.fspath(path)!r} is no name for {what}.", f"End it in {' or '.join(allowed)}.")


def path_to_text(path: str | os.PathLike[str]) -> str:
    """``path`` as text that every file can hold: itself, or a ``file:`` address where its name is not UTF-8."""
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "file:" + quote(os.fsencode(text))
    return text


def path_from_text(text: str) -> str:
    """The inverse of `path_to_text`."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix("file:"))) if text.startswith("file:") else text


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a ``.safetensors`` file atomically, with the same bytes for the same content.

    The library's own writer puts the metadata into a random order; here the header is sorted.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    data = save(dict(tensors), None if metadata is None else dict(metadata))
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    sorted_header = header.encode()
    sorted_header += b" " * (-len(sorted_header) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(sorted_header).to_bytes(8, "little"))
        stream.write(sorted_header)
        stream.write(memoryview(data)[8 + size :])


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The string metadata of a ``.safetensors`` file; empty where there is none.

    Raises:
        ModelError: the file is missing, or no intact safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if is_special(path):
        raise _unreadable(path, OSError())
    try:
        with safe_open(path, "pt") as archive:
            return dict(archive.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` file, with the dtypes that they were stored in, on the CPU."""
    from safetensors import SafetensorError, safe_open

    if is_special(path):
        raise _unreadable(path, OSError())
    try:
        with safe_open(path, "pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ModelError:
    if is_special(path):
        return ModelError(f"{str(path)!r} is a pipe or a device, no file.", "Save it into a file first.")
    if not Path(path).is_file():
        return ModelError(f"There is no file {str(path)!r}.", "Check the path.")
    return ModelError(f"{str(path)!r} is not an intact safetensors file: {error}.", "Copy or download it again.")
