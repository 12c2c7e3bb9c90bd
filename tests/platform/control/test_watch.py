"""An episode to look at: pictures without a screen, of the episode that the seed names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.watch import watch_path
from parley.platform.errors import InputError
from parley.platform.runs.checkpoints import Checkpoint

MakeConfig = Callable[..., CartPolePPOConfig]
SaveUntrained = Callable[..., Checkpoint]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(
    make_config: MakeConfig,
    save_untrained: SaveUntrained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A run folder with a checkpoint, on a machine without a screen."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.toml").write_text('workflow = "cartpole"\nalgorithm = "ppo"\n')
    save_untrained(folder / "checkpoints", make_config("env.window=2", "env.dither=0.5"))
    return folder


def read_frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def test_an_animation_has_several_frames_that_differ(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "episode.gif"
    assert watch_path(run, out, seed=0) == out
    with Image.open(out) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        assert image.info["duration"] > 0
    frames = read_frames(out)
    assert len(frames) >= 3
    assert frames[0].shape == (400, 600, 3)
    assert any((frame != frames[0]).any() for frame in frames[1:])


def test_a_picture_is_a_strip_of_frames(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "episode.png"
    assert watch_path(run, out, seed=0) == out
    with Image.open(out) as image:
        assert image.format == "PNG"
        width, height = image.size
    assert width * height >= 4 * 300 * 200
    assert len(np.unique(read_frames(out)[0].reshape(-1, 3), axis=0)) > 3


def test_without_a_name_it_lies_in_the_run_folder(run: Path) -> None:
    assert watch_path(run, None, seed=0) == run / "episode.gif"
    assert len(read_frames(run / "episode.gif")) >= 3


def test_the_seed_names_the_episode(run: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.gif" for index in range(3)]
    for file, seed in zip(files, (5, 5, 6), strict=True):
        watch_path(run, file, seed)
    first, second, other = (file.read_bytes() for file in files)
    assert first == second
    assert first != other


def test_another_kind_of_file_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"episode\.mp4: write a \.gif .* or a \.png"):
        watch_path(tmp_path / "absent", tmp_path / "episode.mp4", seed=0)


def test_the_command_draws_where_there_is_neither_screen_nor_sound(run: Path) -> None:
    """In a process of its own: pygame chooses its driver once."""
    call = [sys.executable, "-m", "parley.platform.cli", "watch", str(run), "--seed", "1"]
    environment = {name: value for name, value in os.environ.items() if "SDL" not in name}
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "episode.gif" in done.stdout
    assert "ALSA" not in done.stderr
    assert len(read_frames(run / "episode.gif")) >= 3
