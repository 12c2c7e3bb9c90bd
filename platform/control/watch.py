"""An episode to look at: frames of CartPole with the tokens that the policy read and wrote."""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from parley.envs.cartpole.single import TokenCartPole
from parley.envs.cartpole.tokens import STEP_TOKENS
from parley.platform.control.evaluation import CartPolePlayers, load_players
from parley.platform.errors import InputError

DEFAULT_FILE = "episode.gif"
FRAME_STEPS = 4
"""Every so many steps become a frame of the file."""
FRAME_DURATION_MS = 80
STRIP_SHAPE = (2, 4)
"""Rows and columns of a strip's frames."""
CAPTION_SIZE = 18
Frame = NDArray[np.uint8]


def watch_path(path: Path, out: Path | None, seed: int) -> Path | None:
    """Play one greedy episode of a run's best checkpoint.

    Args:
        path: run or checkpoint.
        out: file to write (`.gif`: the episode, `.png`: a strip of frames); None: a window where
            there is a display, else `episode.gif` in the run folder.
        seed: of the episode.

    Returns:
        The file that was written; None where the episode was shown in a window.

    Raises:
        InputError: the file's kind is unknown.
    """
    if out is not None and out.suffix not in (".gif", ".png"):
        raise InputError(f"--out {out}: write a .gif (the episode) or a .png (a strip of frames)")
    players = load_players(path)
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")  # pygame looks for a sound card
    if out is None and _has_display():
        _play(players, "human", seed)
        return None
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    frames = _play(players, "rgb_array", seed)
    target = out or path / DEFAULT_FILE
    if target.suffix == ".gif":
        _write_animation(frames, target)
    else:
        _write_strip(frames, target)
    return target


def _play(players: CartPolePlayers, render_mode: str, seed: int) -> list[Frame]:
    """The captioned frames of one episode; none where a window shows it."""
    env = TokenCartPole(
        num_bins=players.env.num_bins,
        window=players.env.window,
        dither=players.env.dither,
        max_steps=players.env.max_steps,
        render_mode=render_mode,
    )
    policy = players.first
    frames: list[Frame] = []
    observation, _ = env.reset(seed=seed)
    step, total, ended = 0, 0.0, False
    while not ended:
        with torch.inference_mode():
            logits = policy(torch.from_numpy(observation)[None])[0][0]
        action = int(logits.argmax())
        if render_mode == "rgb_array" and step % FRAME_STEPS == 0:
            frames.append(_caption(env, observation, logits.softmax(-1).tolist(), total))
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        step += 1
        ended = terminated or truncated
    if render_mode == "rgb_array":
        frames.append(_caption(env, observation, [], total))
    env.close()
    return frames


def _caption(
    env: gymnasium.Env[NDArray[np.int64], int],
    tokens: NDArray[np.int64],
    probabilities: list[float],
    total: float,
) -> Frame:
    """A frame with the newest state's tokens, the action probabilities and the return so far."""
    image = Image.fromarray(np.asarray(env.render(), np.uint8))
    lines = [f"return {total:.0f}", f"tokens {' '.join(map(str, tokens[-STEP_TOKENS:]))}"]
    if probabilities:
        left, right = probabilities
        lines.append(f"ACT_LEFT {left:.2f}  ACT_RIGHT {right:.2f}")
    font = ImageFont.load_default(CAPTION_SIZE)
    ImageDraw.Draw(image).multiline_text((10, 8), "\n".join(lines), fill=(0, 0, 0), font=font)
    return np.asarray(image, np.uint8)


def _write_animation(frames: list[Frame], path: Path) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=FRAME_DURATION_MS,
        loop=0,
        optimize=True,
    )


def _write_strip(frames: list[Frame], path: Path) -> None:
    """Evenly spaced frames of the episode, side by side in rows, at half size."""
    rows, columns = STRIP_SHAPE
    picks = np.linspace(0, len(frames) - 1, rows * columns).astype(int)
    lines = np.split(np.stack([frames[pick] for pick in picks]), rows)
    strip = np.concatenate([np.concatenate(list(line), axis=1) for line in lines])
    image = Image.fromarray(strip)
    image.reduce(2).save(path)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
