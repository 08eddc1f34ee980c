"""Writing files so that a final name never holds half a result."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentedit.errors import OutputError


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
