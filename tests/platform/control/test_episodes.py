"""Episodes to imitate: recorded by any number of workers, loaded with errors one can act on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parley.envs.cartpole.controllers import ExpertController, RandomController
from parley.envs.cartpole.episodes import EpisodeSet, collect_episodes
from parley.platform.control.episodes import (
    EpisodeDataError,
    load_episodes,
    record_episodes,
    split_evenly,
)
from parley.platform.control.settings import CartPoleEnvConfig, ImitationDataConfig
from parley.platform.errors import EXIT_WRONG_INPUT

ENV = CartPoleEnvConfig(max_steps=40, dither=0.5)


def make_data(num_workers: int) -> ImitationDataConfig:
    return ImitationDataConfig(
        num_expert_episodes=9, num_random_episodes=4, num_workers=num_workers
    )


@pytest.fixture
def episodes() -> EpisodeSet:
    expert = ExpertController()
    return collect_episodes(RandomController(), 3, 0, dither=0.5, max_steps=40, expert=expert)


def test_any_number_of_workers_records_the_same(local_ray: None) -> None:
    one = record_episodes(ENV, make_data(1), seed=5)
    assert one.controller == "expert(epsilon=0.5)+random"
    assert (len(one), one.dither, one.num_bins) == (13, 0.5, 10)
    assert one.labels is not None
    one.check()
    for num_workers in (4, 16):
        several = record_episodes(ENV, make_data(num_workers), seed=5)
        for name in ("tokens", "offsets", "labels", "returns", "terminated"):
            np.testing.assert_array_equal(getattr(several, name), getattr(one, name))
    other = record_episodes(ENV, make_data(1), seed=6)
    assert not np.array_equal(other.lengths, one.lengths)
    assert not np.array_equal(one.sequences[0][:5], one.sequences[9][:5]), "same starts twice"


def test_shares_cover_everything_once() -> None:
    assert list(split_evenly(7, 3)) == [(0, 2), (2, 5), (5, 7)]
    assert list(split_evenly(2, 5)) == [(0, 1), (1, 2)]
    assert list(split_evenly(0, 3)) == []


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_file_or_a_folder_is_loaded(episodes: EpisodeSet, suffix: str, tmp_path: Path) -> None:
    episodes.save(tmp_path / f"a.{suffix}")
    episodes.select(np.array([1])).save(tmp_path / "b.parquet")
    (tmp_path / "notes.txt").write_text("by hand")
    file = load_episodes(tmp_path / f"a.{suffix}", ENV, needs_labels=True)
    np.testing.assert_array_equal(file.tokens, episodes.tokens)
    assert file.labels is not None and episodes.labels is not None
    np.testing.assert_array_equal(file.labels, episodes.labels)
    folder = load_episodes(tmp_path, ENV, needs_labels=True)
    assert len(folder) == 4
    np.testing.assert_array_equal(folder.sequences[3], episodes.sequences[1])


def test_unusable_data_is_refused_with_advice(episodes: EpisodeSet, tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    episodes.save(good)
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.parquet").write_bytes(good.read_bytes()[:100])
    unlabelled = tmp_path / "plain.npz"
    collect_episodes(RandomController(), 2, 0, dither=0.5, max_steps=40).save(unlabelled)
    other_bins = ENV.model_copy(update={"num_bins": 12})
    other_dither = ENV.model_copy(update={"dither": 0.0})
    cases = [
        (tmp_path / "none.parquet", ENV, "no such file or folder"),
        (tmp_path / "empty", ENV, r"holds no \.parquet or \.npz file"),
        (tmp_path / "torn.parquet", ENV, "truncated"),
        (good, other_bins, "of 10 bins, the reader's of 12"),
        (good, other_dither, r"set env\.dither=0\.5"),
        (unlabelled, ENV, r"set data\.action_labels=executed"),
    ]
    for path, env, message in cases:
        with pytest.raises(EpisodeDataError, match=rf"data\.path .*{message}") as caught:
            load_episodes(path, env, needs_labels=True)
        assert caught.value.exit_code == EXIT_WRONG_INPUT
    assert load_episodes(unlabelled, ENV, needs_labels=False).labels is None
