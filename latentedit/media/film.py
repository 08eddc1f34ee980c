"""Films of one list of frames: GIF, WebP, MP4, numbered PNG files."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentedit.errors import MissingExtraError, OutputError
from latentedit.files import atomic_path
from latentedit.media.frames import Frame, prepare
from latentedit.media.palette import with_shared_palette

PathLike = str | os.PathLike[str]

_GIF_MAX_FPS = 50.0  # browsers slow a frame shorter than 2/100 s down to 10/100 s


def save_animation(
    frames: Sequence[Frame], path: PathLike, fps: float = 30.0, *, loop: bool = True, size: int | None = None
) -> Path:
    """Write ``frames`` as the kind of film that the suffix of ``path`` names.

    ``.gif``, ``.webp`` and ``.mp4`` (also ``.m4v``, ``.mov``) give one file; ``.png`` numbered files beside ``path``
    (``morph.png`` -> ``morph0000.png`` ...), and a path without suffix a folder of them. ``size`` is the width in
    pixels to scale to. ``loop`` is kept by GIF and WebP; other kinds leave looping to the player.

    Raises:
        OutputError: another suffix, no frames, or a place that cannot be written to.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".gif":
        return save_gif(frames, path, fps, loop=loop, size=size)
    if suffix == ".webp":
        return save_webp(frames, path, fps, loop=loop, size=size)
    if suffix in (".mp4", ".m4v", ".mov"):
        return save_mp4(frames, path, fps, size=size)
    if suffix in ("", ".png"):
        save_frames(frames, path, size=size)
        return Path(path)
    raise OutputError(
        f"No kind of film ends in {suffix!r} ({str(path)!r}).",
        "Use .gif, .webp, .mp4, .png (numbered frames), or a folder name without suffix.",
    )


def save_gif(
    frames: Sequence[Frame],
    path: PathLike,
    fps: float = 30.0,
    *,
    loop: bool = True,
    size: int | None = None,
    dither: bool = True,
) -> Path:
    """Write a GIF with one palette for all frames, so that colours do not jump from frame to frame.

    ``dither`` hides the bands of 255 colours by a pattern that is fixed to the pixel grid: error diffusion would
    crawl from frame to frame. GIF counts time in 1/100 s; durations alternate so that the film keeps its length, and
    above 50 frames a second, which no player shows, frames are dropped instead.
    """
    images = prepare(frames, size)
    if fps > _GIF_MAX_FPS:
        kept = max(1, round(len(images) * _GIF_MAX_FPS / fps))
        images = [images[min(len(images) - 1, int(i * fps / _GIF_MAX_FPS))] for i in range(kept)]
        fps = _GIF_MAX_FPS
    paletted = with_shared_palette(images, dither)
    durations = [10 * d for d in _durations(len(paletted), fps, ticks=100)]
    options: dict[str, Any] = {"loop": 0} if loop else {}
    with atomic_path(path) as temporary:
        paletted[0].save(
            temporary, "GIF", save_all=True, append_images=paletted[1:], duration=durations, disposal=1, optimize=False,
            **options,
        )  # fmt: skip
    return Path(path)


def save_webp(
    frames: Sequence[Frame],
    path: PathLike,
    fps: float = 30.0,
    *,
    loop: bool = True,
    size: int | None = None,
    quality: int = 90,
    lossless: bool = False,
) -> Path:
    """Write an animated WebP; ``quality`` is 0-100."""
    images = prepare(frames, size)
    with atomic_path(path) as temporary:
        images[0].save(
            temporary, "WEBP", save_all=True, append_images=images[1:], duration=_durations(len(images), fps, 1000),
            loop=0 if loop else 1, quality=quality, lossless=lossless, method=4,
        )  # fmt: skip
    return Path(path)


def save_mp4(
    frames: Sequence[Frame], path: PathLike, fps: float = 30.0, *, size: int | None = None, crf: int = 16
) -> Path:
    """Write H.264 in an MP4 that every player opens (4:2:0, even sizes; an odd edge is repeated by one pixel).

    ``crf`` is x264's constant rate factor: lower is better and larger. The number of threads is fixed, because the
    encoded bytes depend on it.

    Raises:
        MissingExtraError: imageio-ffmpeg, or the program in it, is not installed.
        OutputError: ffmpeg refused; its last words are in the message.
    """
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"MP4 needs ffmpeg, which is not here ({error}).",
            "Run `pip install imageio-ffmpeg`, or save as .gif or .webp.",
        ) from error
    _check_fps(fps)
    arrays = [np.asarray(image) for image in prepare(frames, size)]
    height, width = arrays[0].shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    settings: dict[str, Any] = {
        "fps": fps, "codec": "libx264", "quality": None, "macro_block_size": 2, "ffmpeg_log_level": "error",
        "output_params": ["-crf", str(crf), "-preset", "medium", "-threads", "2", "-movflags", "+faststart",
                          "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"],
    }  # fmt: skip
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(str(temporary), (width + width % 2, height + height % 2), **settings)
        try:
            writer.send(None)
            for array in arrays:
                writer.send(np.ascontiguousarray(np.pad(array, padding, mode="edge")))
        except OSError as error:
            raise OutputError(f"ffmpeg could not write {str(path)!r}: {error}.", "Try .gif or .webp.") from error
        finally:
            writer.close()
        if temporary.stat().st_size == 0:
            raise OutputError(f"ffmpeg wrote nothing to {str(path)!r}.", "Try .gif or .webp.")
    return Path(path)


def save_frames(frames: Sequence[Frame], path: PathLike, *, size: int | None = None) -> list[Path]:
    """Write numbered PNG files; return their paths.

    ``film.png`` gives ``film0000.png``, ``film0001.png`` ... beside it; a path without ``.png`` is a folder and gives
    ``frame0000.png`` ... in it. All are encoded before the first gets its final name.
    """
    target = Path(path)
    folder, stem = (target.parent, target.stem) if target.suffix.lower() == ".png" else (target, "frame")
    images = prepare(frames, size)
    digits = max(4, len(str(len(images) - 1)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=folder))
    except OSError as error:
        raise OutputError(
            f"Cannot write into {str(folder)!r}: {error.strerror or error}.", "Choose a folder that you may write to."
        ) from error
    try:
        names = [f"{stem}{i:0{digits}d}.png" for i in range(len(images))]
        for image, name in zip(images, names, strict=True):
            image.save(staging / name)
        for name in names:
            os.replace(staging / name, folder / name)
    except OSError as error:
        raise OutputError(
            f"Cannot write frames into {str(folder)!r}: {error.strerror or error}.", "Free some space."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / name for name in names]


def _check_fps(fps: float) -> None:
    if not 0 < fps < float("inf"):
        raise OutputError(f"A film cannot have {fps} frames a second.", "Choose a number above 0, such as 30.")


def _durations(count: int, fps: float, ticks: int) -> list[int]:
    """Whole ticks for each frame whose running sum stays within half a tick of the true time."""
    _check_fps(fps)
    ends = [int(np.floor(ticks * i / fps + 0.5)) for i in range(count + 1)]
    return [max(1, after - before) for before, after in itertools.pairwise(ends)]
