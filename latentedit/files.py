"""Files: written so that a final name never holds half a result, and safetensors read with clear errors."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latentedit.errors import ModelError, OutputError

if TYPE_CHECKING:
    from torch import Tensor


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
    Missing parent folders are made. Interruption (Ctrl-C included) leaves an earlier ``path`` as it was.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{final.stem}-", suffix=final.suffix, dir=final.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {str(final)!r}: {error.strerror or error}.", "Choose a folder that you may write to."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, final)
    except OSError as error:
        raise OutputError(
            f"Cannot write {str(final)!r}: {error.strerror or error}.", "Free some space or choose another path."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


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

    try:
        with safe_open(path, "pt") as archive:
            return dict(archive.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` file, with the dtypes that they were stored in, on the CPU."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ModelError:
    if not Path(path).is_file():
        return ModelError(f"There is no file {str(path)!r}.", "Check the path.")
    return ModelError(f"{str(path)!r} is not an intact safetensors file: {error}.", "Copy or download it again.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
