"""An episode to look at: frames of CartPole with the tokens that the policy read and wrote."""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from parley.envs.cartpole.single import TokenCartPole
from parley.platform.errors import InputError
from parley.platform.evaluation.cartpole import CartPolePlayers, load_players

DEFAULT_FILE = "episode.gif"
FRAME_STEPS = 4
"""Every so many steps become a frame of the file."""
FRAME_DURATION_MS = 80
STRIP_FRAMES = 8
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
    if out is None and _has_display():
        _play(players, "human", seed)
        return None
    frames = _play(players, "rgb_array", seed)
    target = out or path / DEFAULT_FILE
    if target.suffix == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(
            target,
            save_all=True,
            append_images=images[1:],
            duration=FRAME_DURATION_MS,
            loop=0,
            optimize=True,
        )
    else:
        picks = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).astype(int)
        Image.fromarray(np.concatenate([frames[pick] for pick in picks], axis=1)).save(target)
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
    draw = ImageDraw.Draw(image)
    draw.text((10, 8), f"return {total:.0f}", fill=(0, 0, 0))
    draw.text((10, 24), f"tokens {' '.join(map(str, tokens[-5:]))}", fill=(0, 0, 0))
    if probabilities:
        left, right = probabilities
        draw.text((10, 40), f"ACT_LEFT {left:.2f}  ACT_RIGHT {right:.2f}", fill=(0, 0, 0))
    return np.asarray(image, np.uint8)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
