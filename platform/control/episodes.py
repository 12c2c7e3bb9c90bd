"""Episodes to imitate: recorded by Ray tasks, or read from files.

Every episode depends only on the seed and its own index, so that the data are the same for any
number of workers. Ray must be connected for `record_episodes` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import ray

from parley.envs.cartpole.controllers import Controller, ExpertController, RandomController
from parley.envs.cartpole.episodes import EpisodeSet, collect_episodes
from parley.platform.control.settings import CartPoleEnvConfig, ImitationDataConfig
from parley.platform.errors import InputError, display_path
from parley.platform.terminal.activities import each

EPISODE_SUFFIXES = (".parquet", ".npz")


class EpisodeDataError(InputError):
    """Recorded episodes that are missing, damaged, or of another language."""


def record_episodes(env: CartPoleEnvConfig, data: ImitationDataConfig, seed: int) -> EpisodeSet:
    """Play the expert's and the random episodes in `data.num_workers` tasks at a time.

    Every action is written down with the one that the undisturbed expert would have taken.
    """
    controllers: list[tuple[Controller, int]] = [
        (ExpertController(data.expert_epsilon), data.num_expert_episodes),
        (RandomController(), data.num_random_episodes),
    ]
    play = ray.remote(num_cpus=1)(_play_share)
    shares = [
        play.remote(controller, num_episodes, _seed_of(seed, index), env, share)
        for index, (controller, num_episodes) in enumerate(controllers)
        for share in split_evenly(num_episodes, data.num_workers)
    ]
    return EpisodeSet.concat(
        [ray.get(share) for share in each(shares, "recording episodes", "shares")]
    )


def split_evenly(num_episodes: int, num_workers: int) -> Iterator[tuple[int, int]]:
    """Give the ranges [start, stop) of at most `num_workers` shares, none of them empty."""
    edges = np.linspace(0, num_episodes, num_workers + 1).round().astype(int).tolist()
    yield from ((start, stop) for start, stop in pairwise(edges) if start < stop)


def load_episodes(path: Path, env: CartPoleEnvConfig, needs_labels: bool) -> EpisodeSet:
    """Read an episode file, or all of a folder in the order of their names.

    Args:
        path: a `.parquet` or `.npz` file that `EpisodeSet.save` wrote, or a folder of such.
        env: whose language the episodes must speak.
        needs_labels: whether the expert's actions must be recorded too.

    Raises:
        EpisodeDataError: there is no such data, or it is not usable; names file and setting.
    """
    place = f"data.path {display_path(path)}"
    try:
        parts = [EpisodeSet.load(file, env.num_bins) for file in _episode_files(path)]
        episodes = EpisodeSet.concat(parts)
    except (OSError, ValueError) as error:
        raise EpisodeDataError(f"{place}: {error}") from error
    if episodes.dither != env.dither:
        raise EpisodeDataError(
            f"{place}: recorded with a dither of {episodes.dither:g} bins, but env.dither is "
            f"{env.dither:g}; set env.dither={episodes.dither:g}"
        )
    if needs_labels and episodes.labels is None:
        raise EpisodeDataError(
            f"{place}: what the expert would have done is not recorded; set "
            f"data.action_labels=executed, or record episodes with this version"
        )
    return episodes


def _episode_files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError("no such file or folder")
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in EPISODE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"the folder holds no {' or '.join(EPISODE_SUFFIXES)} file")
    return files


def _play_share(
    controller: Controller,
    num_episodes: int,
    seed: int,
    env: CartPoleEnvConfig,
    share: tuple[int, int],
) -> EpisodeSet:
    return collect_episodes(
        controller,
        num_episodes,
        seed,
        env.num_bins,
        env.dither,
        env.max_steps,
        episode_range=share,
        expert=ExpertController(),
    )


def _seed_of(seed: int, index: int) -> int:
    """A seed for the data set of each controller, so that they do not start alike."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
