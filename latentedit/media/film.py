"""Films: GIF, WebP, MP4, numbered PNG files. Frames are taken one by one, and none is kept."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from latentedit.errors import OutputError
from latentedit.files import atomic_path
from latentedit.media.ffmpeg import encoder, find_ffmpeg
from latentedit.media.frames import Frame, Spool, prepare
from latentedit.media.gif import write_gif
from latentedit.media.palette import SharedPalette

PathLike = str | os.PathLike[str]

SLOWEST, FASTEST = 0.01, 1000.0
_GIF_MAX_FPS = 50.0  # browsers slow a frame shorter than 2/100 s down to 10/100 s


def save_animation(
    frames: Iterable[Frame], path: PathLike, fps: float = 30.0, *, loop: bool = True, size: int | None = None
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
    frames: Iterable[Frame],
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
    check_fps(fps)
    with atomic_path(path) as temporary, Spool(prepare(frames, size)) as images:
        kept = range(len(images))
        if fps > _GIF_MAX_FPS:
            count = max(1, round(len(images) * _GIF_MAX_FPS / fps))
            kept = [min(len(images) - 1, int(i * fps / _GIF_MAX_FPS)) for i in range(count)]
            fps = _GIF_MAX_FPS
        step = max(1, len(kept) // 12)
        palette = SharedPalette([images[i] for i in kept[::step]], dither)
        paletted = (palette.apply(images[i]) for i in kept)
        write_gif(temporary, paletted, _durations(len(kept), fps, ticks=100), loop=loop)
    return Path(path)


def save_webp(
    frames: Iterable[Frame],
    path: PathLike,
    fps: float = 30.0,
    *,
    loop: bool = True,
    size: int | None = None,
    quality: int = 90,
    lossless: bool = False,
) -> Path:
    """Write an animated WebP; ``quality`` is 0-100.

    Raises:
        MissingExtraError: imageio-ffmpeg, or the program in it, is not installed.
        OutputError: ffmpeg refused; its last words are in the message.
    """
    arguments = ["-c:v", "libwebp_anim", "-pix_fmt", "bgra", "-lossless", str(int(lossless)), "-quality", str(quality)]
    arguments += ["-compression_level", "4", "-loop", "0" if loop else "1"]
    return _encode(frames, path, fps, size, arguments)


def save_mp4(
    frames: Iterable[Frame], path: PathLike, fps: float = 30.0, *, size: int | None = None, crf: int = 16
) -> Path:
    """Write H.264 in an MP4 that every player opens (4:2:0, even sizes; an odd edge is repeated by one pixel).

    Colours are converted by ITU-R BT.709, and the file says so: without a word players guess, by the size of the
    picture. ``crf`` is x264's constant rate factor: lower is better and larger. The number of threads is fixed, because
    the encoded bytes depend on it.

    Raises:
        MissingExtraError: imageio-ffmpeg, or the program in it, is not installed.
        OutputError: ffmpeg refused; its last words are in the message.
    """
    convert = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
    tag = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    arguments = ["-vf", f"{convert},{tag}", "-c:v", "libx264", "-crf", str(crf), "-preset", "medium", "-threads", "2"]
    return _encode(frames, path, fps, size, [*arguments, "-movflags", "+faststart"], even=True)


def _encode(
    frames: Iterable[Frame], path: PathLike, fps: float, size: int | None, arguments: list[str], *, even: bool = False
) -> Path:
    check_fps(fps)
    find_ffmpeg()
    images = prepare(frames, size)
    first = next(images)
    width, height = first.size
    shape = (width + width % 2, height + height % 2) if even else (width, height)
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]
    with atomic_path(path) as temporary, encoder(temporary, shape, fps, [*arguments, *exact]) as push:
        for image in itertools.chain([first], images):
            push(image)
    return Path(path)


def save_frames(frames: Iterable[Frame], path: PathLike, *, size: int | None = None) -> list[Path]:
    """Write numbered PNG files; return their paths.

    ``film.png`` gives ``film0000.png``, ``film0001.png`` ... beside it; a path without ``.png`` is a folder and gives
    ``frame0000.png`` ... in it. All are encoded before the first gets its final name.
    """
    target = Path(path)
    folder, stem = (target.parent, target.stem) if target.suffix.lower() == ".png" else (target, "frame")
    images = prepare(frames, size)
    first = next(images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{stem[:32]}-", dir=folder))
    except OSError as error:
        raise OutputError(
            f"Cannot write into {str(folder)!r}: {error.strerror or error}.", "Choose a folder that you may write to."
        ) from error
    try:
        count = 0
        for image in itertools.chain([first], images):
            image.save(staging / f"{count}.png")
            count += 1
        digits = max(4, len(str(count - 1)))
        names = [f"{stem}{i:0{digits}d}.png" for i in range(count)]
        for i, name in enumerate(names):
            os.replace(staging / f"{i}.png", folder / name)
    except OSError as error:
        raise OutputError(
            f"Cannot write frames into {str(folder)!r}: {error.strerror or error}.", "Free some space."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / name for name in names]


def check_fps(fps: float) -> None:
    """Make sure that every kind of film can have ``fps`` frames a second.

    Raises:
        OutputError: it cannot.
    """
    if not SLOWEST <= fps <= FASTEST:
        raise OutputError(
            f"A film cannot have {fps:g} frames a second.", f"Choose {SLOWEST:g} to {FASTEST:g}, such as 30."
        )


def _durations(count: int, fps: float, ticks: int) -> list[int]:
    """Whole ticks for each frame whose running sum stays within half a tick of the true time."""
    ends = [int(np.floor(ticks * i / fps + 0.5)) for i in range(count + 1)]
    return [max(1, after - before) for before, after in itertools.pairwise(ends)]
