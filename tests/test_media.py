"""Films and sheets: what is written plays back as what was given."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentedit.errors import OutputError
from latentedit.media import contact_sheet, save_animation, save_frames, save_gif, save_mp4, save_webp
from latentedit.media.film import _durations
from latentedit.media.palette import with_shared_palette


def frames_of(count: int, width: int = 48, height: int = 40) -> list[Image.Image]:
    """A gradient with a block that moves: smooth colours, and pixels that change from frame to frame."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    frames = []
    for i in range(count):
        array = np.stack([60 + 3 * x, 40 + 4 * y, 90 + x + y], -1).astype(np.uint8)
        array[10:20, i % (width - 10) : i % (width - 10) + 10] = (230, 40 + i, 20)
        frames.append(Image.fromarray(array))
    return frames


def play_gif(path: Path) -> tuple[list[np.ndarray], list[int], dict]:
    with Image.open(path) as film:
        pictures, durations = [], []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
            pictures.append(np.asarray(film.convert("RGB"), dtype=np.int16))
        return pictures, durations, dict(film.info)


def test_gif_plays_back_the_frames_at_the_right_speed(tmp_path: Path) -> None:
    frames = frames_of(30)
    played, durations, info = play_gif(save_gif(frames, tmp_path / "film.gif", fps=30))
    assert len(played) == 30
    assert sum(durations) == 1000
    assert set(durations) == {30, 40}
    assert info["loop"] == 0
    for picture, frame in zip(played, frames, strict=True):
        error = picture - np.asarray(frame, dtype=np.int16)
        assert np.abs(error.mean()) < 1.0  # dithering adds no tint
        assert np.sqrt((error.astype(float) ** 2).mean()) < 9.0


def test_gif_without_loop_plays_once(tmp_path: Path) -> None:
    _, _, info = play_gif(save_gif(frames_of(3), tmp_path / "once.gif", loop=False))
    assert "loop" not in info


def test_gif_faster_than_players_drops_frames_and_keeps_its_length(tmp_path: Path) -> None:
    played, durations, _ = play_gif(save_gif(frames_of(100), tmp_path / "fast.gif", fps=100))
    assert len(played) == 50
    assert sum(durations) == 1000


def test_gif_dithering_stands_still() -> None:
    """Where frames do not change, not one pixel may: error diffusion would let the pattern crawl."""
    frames = frames_of(8)
    paletted = [np.asarray(frame) for frame in with_shared_palette(frames, dither=True)]
    for frame in paletted[1:]:
        np.testing.assert_array_equal(frame[22:], paletted[0][22:])
    assert len({frame.palette.getdata()[1] for frame in with_shared_palette(frames, dither=True)}) == 1


def test_gif_dithering_hides_bands() -> None:
    """Where the palette has few colours for a slow gradient, areas keep their mean: no bands."""
    ramp = np.broadcast_to(np.linspace(60, 160, 256)[None, :, None], (64, 256, 3))
    colours = np.random.RandomState(0).randint(0, 256, (6, 6, 3)).astype(np.uint8)
    busy = np.asarray(Image.fromarray(colours).resize((256, 256), Image.Resampling.BICUBIC))
    frames = [Image.fromarray(np.concatenate([ramp.astype(np.uint8), busy]))]

    def area_error(dither: bool) -> float:
        shown = np.asarray(with_shared_palette(frames, dither)[0].convert("RGB"), dtype=float)[:64]
        areas = (shown - ramp.astype(np.uint8)).reshape(4, 16, 32, 8, 3).mean((1, 3))
        return float(np.sqrt((areas**2).mean()))

    assert area_error(True) < 0.5 * area_error(False)


def test_durations_sum_to_the_true_length() -> None:
    for fps in (7, 12.5, 24, 29.97, 30, 50):
        ticks = _durations(97, fps, 100)
        assert abs(sum(ticks) - 9700 / fps) <= 0.5


def test_webp_and_frames_play_back(tmp_path: Path) -> None:
    frames = frames_of(6)
    with Image.open(save_webp(frames, tmp_path / "film.webp", fps=10, lossless=True)) as film:
        assert film.n_frames == 6
        film.seek(3)
        film.load()
        assert film.info["duration"] == 100
        np.testing.assert_array_equal(np.asarray(film.convert("RGB")), np.asarray(frames[3]))
    paths = save_frames(frames, tmp_path / "shots" / "shot.png")
    assert [path.name for path in paths] == [f"shot{i:04d}.png" for i in range(6)]
    np.testing.assert_array_equal(np.asarray(Image.open(paths[5])), np.asarray(frames[5]))
    folder = save_animation(frames, tmp_path / "folder")
    assert sorted(path.name for path in folder.iterdir()) == [f"frame{i:04d}.png" for i in range(6)]


def test_mp4_plays_back_with_even_sides(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = frames_of(12, width=47, height=41)
    path = save_mp4(frames, tmp_path / "film.mp4", fps=12)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (48, 42, 12.0)
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(shown) == 12
    for picture, frame in zip(shown, frames, strict=True):
        error = picture[:41, :47].astype(float) - np.asarray(frame, dtype=float)
        assert np.sqrt((error**2).mean()) < 12.0


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    one, two = (save_animation(frames_of(9), tmp_path / f"{name}{suffix}", 12) for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_size_scales_keeping_the_aspect(tmp_path: Path) -> None:
    with Image.open(save_gif(frames_of(2), tmp_path / "large.gif", size=96)) as film:
        assert film.size == (96, 80)


def test_errors_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in '\.xyz'.*Use \.gif"):
        save_animation(frames_of(2), tmp_path / "film.xyz")
    with pytest.raises(OutputError, match="no frames"):
        save_animation([], tmp_path / "film.gif")
    with pytest.raises(OutputError, match=r"different sizes \[\(48, 40\), \(50, 40\)\]"):
        save_gif([*frames_of(1), *frames_of(1, width=50)], tmp_path / "film.gif")
    for suffix in ("gif", "webp", "mp4"):
        for fps in (0, 0.001, -3, float("nan"), float("inf"), 1e9):
            with pytest.raises(OutputError, match=r"cannot have .* frames a second\. Choose 0\.01 to 1000"):
                save_animation(frames_of(2), tmp_path / f"film.{suffix}", fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", ["film.gif", "film.mp4", "film.png"])
def test_a_folder_without_permission_is_one_clear_error(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Cannot write"):
        save_animation(frames_of(2), tmp_path / name)


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.mp4", "film.png"])
def test_a_place_below_a_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Cannot write"):
        save_animation(frames_of(2), tmp_path / "file" / name)


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.mp4", "film.png"])
def test_an_interrupted_film_leaves_nothing(tmp_path: Path, name: str) -> None:
    def interrupted() -> Iterator[Image.Image]:
        yield from frames_of(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_animation(interrupted(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.mp4", "film.png", "frames"])
def test_films_hold_no_more_than_a_few_frames(tmp_path: Path, name: str) -> None:
    alive: list[weakref.ref[Image.Image]] = []
    most = 0

    def stream() -> Iterator[Image.Image]:
        nonlocal most
        for frame in frames_of(40):
            fresh = frame.copy()
            alive.append(weakref.ref(fresh))
            most = max(most, sum(one() is not None for one in alive))
            yield fresh
            del fresh

    save_animation(stream(), tmp_path / name, 20)
    assert len(alive) == 40
    assert most <= 3


def test_mp4_is_bt709_and_says_so(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    colours = [(255, 0, 0), (0, 200, 0), (30, 60, 220), (200, 200, 200)]
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    path = save_mp4(frames, tmp_path / "film.mp4", fps=4, crf=1)
    with av.open(str(path)) as film:
        shown = list(film.decode(video=0))
    for frame, (r, g, b) in zip(shown, colours, strict=True):
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (1, 1, 1)
        assert int(frame.color_range) == 1  # "tv": 16 to 235
        light = 0.2126 * r + 0.7152 * g + 0.0722 * b  # ITU-R BT.709-6, items 3.2 and 3.3
        expected = [
            16 + 219 * light / 255,
            128 + 224 * (b - light) / 1.8556 / 255,
            128 + 224 * (r - light) / 1.5748 / 255,
        ]
        values = frame.to_ndarray(format="yuv420p")
        planes = [values[rows].mean() for rows in (slice(32), slice(32, 40), slice(40, 48))]
        np.testing.assert_allclose(planes, expected, atol=2)


def test_a_gif_says_only_what_changes(tmp_path: Path) -> None:
    frames = [frame for frame in frames_of(3) for _ in range(2)]
    with Image.open(save_gif(frames, tmp_path / "film.gif", fps=10)) as film:
        assert film.n_frames == 3  # a frame that repeats lasts longer
        durations, boxes = [], []
        for i in range(3):
            film.seek(i)
            durations.append(film.info["duration"])
            boxes.append(film.dispose_extent)
    assert durations == [200, 200, 200]
    assert boxes[0] == (0, 0, 48, 40)
    for left, top, right, bottom in boxes[1:]:
        assert (right - left) * (bottom - top) < 12 * 12


def test_contact_sheet_places_every_image() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]
    tiles = [Image.new("RGB", (20, 10), colour) for colour in colours]
    sheet = np.asarray(contact_sheet([tiles[:3], [tiles[3], None, tiles[4]]], gap=4))
    assert sheet.shape == (2 * 14 + 4, 3 * 24 + 4, 3)
    for (row, column), colour in zip([(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)], colours, strict=True):
        tile = sheet[4 + 14 * row : 14 + 14 * row, 4 + 24 * column : 24 + 24 * column]
        assert (tile == colour).all()
    assert (sheet[18:28, 28:48] == 255).all()


def test_contact_sheet_writes_labels_outside_the_images() -> None:
    tiles = [Image.new("RGB", (64, 64), (128, 128, 128)) for _ in range(4)]
    plain = contact_sheet(tiles, width=2)
    labelled = contact_sheet(tiles, ["age", "smile"], ["-3", "+3"])
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    left = labelled.width - plain.width
    top = labelled.height - plain.height
    pixels = np.asarray(labelled).astype(int)
    assert (pixels[top:, :left] < 100).any()  # row labels
    assert (pixels[:top, left:] < 100).any()  # column labels
    np.testing.assert_array_equal(pixels[top + 4 :, left:], np.asarray(plain)[4:])


def test_contact_sheet_scales_to_the_cell_and_shortens_labels() -> None:
    sheet = contact_sheet([Image.new("RGB", (64, 32))], columns=["a label that is far too long"], cell=128, gap=0)
    assert sheet.width == 128
    assert 64 < sheet.height < 100


def test_contact_sheet_refuses_wrong_numbers_of_labels() -> None:
    tiles = [Image.new("RGB", (8, 8))] * 4
    with pytest.raises(ValueError, match="3 row labels for 2 rows"):
        contact_sheet(tiles, ["a", "b", "c"], width=2)
    with pytest.raises(ValueError, match="1 column labels for 2 columns"):
        contact_sheet([tiles[:2], tiles[2:]], columns=["a"])
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([None, None])
