"""Errors of the library: each says what was wrong, names the value, and tells the way out."""

from __future__ import annotations


class LatentEditError(Exception):
    """Base of every error that the library raises on purpose.

    ``problem`` is one sentence that names the offending value; ``remedy`` is one sentence that tells what to do.
    ``typed`` is the remedy in the words of the command line, where ``remedy`` speaks of Python.
    ``str(error)`` is problem and remedy on one line; the commands print ``for_command_line()`` before they exit.
    """

    def __init__(self, problem: str, remedy: str | None = None, *, typed: str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.typed = typed
        super().__init__(problem if remedy is None else f"{problem} {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross from worker processes whole."""
        return _restored, (type(self), self.problem, self.remedy, self.typed)

    def for_command_line(self) -> str:
        """Problem and remedy on one line, for somebody who typed a command."""
        remedy = self.typed or self.remedy
        return self.problem if remedy is None else f"{self.problem} {remedy}"


def _restored(kind: type[LatentEditError], problem: str, remedy: str | None, typed: str | None) -> LatentEditError:
    return kind(problem, remedy, typed=typed)


class ImageError(LatentEditError):
    """A photo that cannot be decoded, or an array that is no image."""


class FaceError(LatentEditError):
    """No face, or not the face that was asked for."""


class ModelError(LatentEditError):
    """A checkpoint or a model folder that cannot be read, or lacks a part that is needed."""


class UnsafeCheckpointError(ModelError):
    """A pickle that asks for something outside the allow-list; nothing of it was executed."""


class FingerprintError(LatentEditError):
    """Latents, directions, or inversions of one generator used with another."""


class LatentError(LatentEditError):
    """Latents of a wrong shape, with values that are not finite, or from an unreadable file."""


class DirectionError(LatentEditError):
    """An unknown attribute or direction, or labels from which none can be fitted."""


class UnknownAttributeError(DirectionError):
    """A name that is no attribute, or none of the model at hand."""


class LayerError(LatentEditError, ValueError):
    """A layer range that the generator does not have."""


class OutputError(LatentEditError):
    """A result that cannot be written where it was asked for."""


class BackendError(LatentEditError, RuntimeError):
    """A native kernel that was asked for and cannot be had; holds the compiler's own message."""


class MissingExtraError(LatentEditError, ImportError):
    """An optional package that is not installed; the remedy names the extra that brings it."""
