from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parley.envs.cartpole.controllers import ExpertController, RandomController
from parley.envs.cartpole.episodes import EpisodeSet, collect_episodes
from parley.envs.cartpole.physics import step_states
from parley.envs.cartpole.tokens import DONE, RESET, STATE_LIMITS, CartPoleTokenizer
from parley.envs.cartpole.vector import VectorCartPole

FORMATS = ["parquet", "npz"]


@pytest.fixture(scope="module")
def episodes() -> EpisodeSet:
    return collect_episodes(RandomController(), 30, seed=4, num_bins=12, dither=0.5)


def assert_same(one: EpisodeSet, other: EpisodeSet) -> None:
    for name in ("tokens", "offsets", "returns", "terminated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert (one.num_bins, one.dither, one.controller) == (
        other.num_bins,
        other.dither,
        other.controller,
    )


def test_sequences_are_sentences_of_the_language(episodes: EpisodeSet) -> None:
    assert len(episodes) == len(episodes.sequences) == 30
    assert episodes.tokens.dtype == np.int16
    episodes.check()
    for index, sequence in enumerate(episodes.sequences):
        assert sequence[0] == RESET
        assert sequence[-1] == DONE
        assert len(sequence) == 5 * (episodes.lengths[index] + 1) + 1
    np.testing.assert_array_equal(episodes.returns, episodes.lengths)
    assert episodes.terminated.all()


def test_tokens_tell_the_true_story() -> None:
    episodes = collect_episodes(RandomController(), 5, seed=0, num_bins=200)
    tokenizer = CartPoleTokenizer(200)
    for sequence in episodes.sequences:
        steps = sequence[:-1].reshape(-1, 5)
        states = tokenizer.decode_state(steps[:, 1:])
        actions = np.array([tokenizer.decode_action(token) for token in steps[1:, 0]])
        clipped = np.any(np.abs(states) > np.array(STATE_LIMITS) - tokenizer.bin_widths, axis=1)
        inside = ~(clipped[:-1] | clipped[1:])
        gap = np.abs(step_states(states[:-1], actions) - states[1:])
        assert inside.sum() > 5
        assert (gap[inside] < 1.2 * tokenizer.bin_widths).all()


@pytest.mark.parametrize("controller", [RandomController(), ExpertController(epsilon=0.6)])
def test_four_workers_collect_the_same_data_as_one(
    controller: RandomController | ExpertController, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = collect_episodes(controller, 22, seed=9, dither=1.0, max_steps=150)
    ranges = [(0, 6), (6, 7), (7, 15), (15, 22)]
    parts = [
        collect_episodes(controller, 22, 9, dither=1.0, max_steps=150, episode_range=share)
        for share in ranges
    ]
    assert_same(EpisodeSet.concat(parts), whole)
    monkeypatch.setattr("parley.envs.cartpole.episodes.COLLECT_BATCH", 5)
    assert_same(collect_episodes(controller, 22, seed=9, dither=1.0, max_steps=150), whole)


def test_other_seeds_give_other_data(episodes: EpisodeSet) -> None:
    other = collect_episodes(RandomController(), 30, seed=5, num_bins=12, dither=0.5)
    assert not np.array_equal(other.lengths, episodes.lengths)


def test_truncated_episodes_are_marked() -> None:
    episodes = collect_episodes(ExpertController(), 3, seed=0, max_steps=20)
    np.testing.assert_array_equal(episodes.lengths, 20)
    assert not episodes.terminated.any()


@pytest.mark.parametrize("suffix", FORMATS)
def test_save_and_load_give_the_same_set(episodes: EpisodeSet, suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    path = folder / f"episodes.{suffix}"
    episodes.save(path)
    assert_same(EpisodeSet.load(path), episodes)
    episodes.select(np.array([3])).save(path)
    assert len(EpisodeSet.load(path)) == 1
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failed_save_keeps_the_old_file(
    episodes: EpisodeSet, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"episodes.{suffix}"
    episodes.save(path)

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        episodes.select(np.array([0])).save(path)
    assert_same(EpisodeSet.load(path), episodes)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(
    episodes: EpisodeSet, suffix: str, keep: float, tmp_path: Path
) -> None:
    path = tmp_path / f"episodes.{suffix}"
    episodes.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match=rf"episodes\.{suffix}: .*truncated"):
        EpisodeSet.load(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_file_is_named(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"none\.{suffix}"):
        EpisodeSet.load(tmp_path / f"none.{suffix}")


def test_a_damaged_archive_is_refused(episodes: EpisodeSet, tmp_path: Path) -> None:
    path = tmp_path / "episodes.npz"
    episodes.save(path)
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"episodes\.npz: damaged"):
        EpisodeSet.load(path)


def test_files_without_the_columns_are_refused(episodes: EpisodeSet, tmp_path: Path) -> None:
    path = tmp_path / "episodes.parquet"
    episodes.save(path)
    pq.write_table(pq.read_table(path).drop_columns(["returns"]), path)
    with pytest.raises(ValueError, match=r"episodes\.parquet: \['returns'\] missing"):
        EpisodeSet.load(path)
    pq.write_table(pa.table({"tokens": [[1]], "returns": [1.0], "terminated": [True]}), path)
    with pytest.raises(ValueError, match=r"\['parley\.episodes'\] missing"):
        EpisodeSet.load(path)
    archive = tmp_path / "episodes.npz"
    np.savez(archive, tokens=np.zeros(3, np.int16))
    with pytest.raises(ValueError, match=r"'offsets'.* missing, the file has \['tokens'\]"):
        EpisodeSet.load(archive)
    with pytest.raises(ValueError, match=r"ends in \.parquet or \.npz"):
        episodes.save(tmp_path / "episodes.csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_foreign_vocabulary_is_refused(episodes: EpisodeSet, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"episodes.{suffix}"
    replace(episodes, num_bins=11).save(path)
    with pytest.raises(ValueError, match=rf"episodes\.{suffix}: foreign token in episode"):
        EpisodeSet.load(path)
    episodes.save(path)
    assert_same(EpisodeSet.load(path, num_bins=12), episodes)
    with pytest.raises(ValueError, match=r"its tokens are of 12 bins, the reader's of 10"):
        EpisodeSet.load(path, num_bins=10)
    tokens = episodes.tokens.copy()
    tokens[5] = 1
    replace(episodes, tokens=tokens).save(path)
    with pytest.raises(ValueError, match="foreign token in episode 0: actions from 1"):
        EpisodeSet.load(path)
    cut = np.append(episodes.offsets[:-1], len(tokens) - 1)
    replace(episodes, tokens=tokens[:-1], offsets=cut).save(path)
    with pytest.raises(ValueError, match=r"episode 29 of .* tokens is incomplete"):
        EpisodeSet.load(path)


def test_split_is_by_episode_and_seeded(episodes: EpisodeSet) -> None:
    train, held_out = episodes.split(0.8, seed=1)
    assert (len(train), len(held_out)) == (24, 6)
    both = [sequence.tobytes() for part in (train, held_out) for sequence in part.sequences]
    assert sorted(both) == sorted(sequence.tobytes() for sequence in episodes.sequences)
    assert_same(episodes.split(0.8, seed=1)[0], train)
    assert not np.array_equal(episodes.split(0.8, seed=2)[0].tokens, train.tokens)
    with pytest.raises(ValueError, match=r"fraction 0\.01 of 30 episodes"):
        episodes.split(0.01, seed=1)


def test_concat_names_both_controllers_and_refuses_other_tokenizers(episodes: EpisodeSet) -> None:
    expert = collect_episodes(ExpertController(), 2, seed=0, num_bins=12, dither=0.5, max_steps=30)
    mixed = EpisodeSet.concat([episodes, expert, episodes])
    assert mixed.controller == "random+expert"
    assert len(mixed) == 62
    np.testing.assert_array_equal(mixed.sequences[31], expert.sequences[1])
    with pytest.raises(ValueError, match="must share one"):
        EpisodeSet.concat([episodes, replace(expert, num_bins=13)])
    with pytest.raises(ValueError, match="must share one"):
        EpisodeSet.concat([])


def test_environments_of_a_data_set_are_those_of_the_rules() -> None:
    episodes = collect_episodes(RandomController(), 3, seed=2, dither=1.0)
    stream = np.random.SeedSequence(2, spawn_key=(1, 0))
    first = VectorCartPole(1, dither=1.0, seeds=[stream]).reset()
    np.testing.assert_array_equal(episodes.sequences[1][:5], first[0, 0])


@pytest.mark.parametrize("share", [(0, 0), (2, 1), (0, 4), (-1, 2)])
def test_a_share_outside_the_data_set_is_refused(share: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"episode_range must lie in \[0, 3\]"):
        collect_episodes(RandomController(), 3, seed=0, episode_range=share)


def test_labels_are_what_the_expert_would_have_done() -> None:
    expert = ExpertController()
    episodes = collect_episodes(RandomController(), 8, seed=3, expert=expert)
    plain = collect_episodes(RandomController(), 8, seed=3)
    np.testing.assert_array_equal(episodes.tokens, plain.tokens)
    assert plain.labels is None
    assert episodes.labels is not None
    assert episodes.labels.dtype == episodes.tokens.dtype
    differing = np.flatnonzero(episodes.labels != episodes.tokens)
    actions = np.isin(episodes.tokens, [2, 3])
    assert actions[differing].all()
    assert 0.3 < len(differing) / actions.sum() < 0.7
    pure = collect_episodes(expert, 4, seed=3, max_steps=50, expert=expert)
    np.testing.assert_array_equal(pure.labels, pure.tokens)


def test_labels_are_of_the_state_before_the_action() -> None:
    """On a fine grid, the decoded state decides for the same side as the true one."""
    expert = ExpertController()
    episodes = collect_episodes(RandomController(), 4, seed=1, num_bins=3_000, expert=expert)
    assert episodes.labels is not None
    tokenizer = CartPoleTokenizer(3_000)
    agreeing, total = 0, 0
    for episode in range(len(episodes)):
        stretch = slice(episodes.offsets[episode], episodes.offsets[episode + 1] - 1)
        steps = episodes.tokens[stretch].reshape(-1, 5)
        chosen = episodes.labels[stretch].reshape(-1, 5)[1:, 0] - 2
        states = tokenizer.decode_state(steps[:-1, 1:])
        agreeing += int((expert.act(states, np.full(len(states), 0.5)) == chosen).sum())
        total += len(chosen)
    assert agreeing > 0.98 * total


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_are_kept_by_everything(suffix: str, tmp_path: Path) -> None:
    expert = ExpertController()
    whole = collect_episodes(RandomController(), 6, seed=3, expert=expert)
    assert whole.labels is not None
    whole.save(tmp_path / f"episodes.{suffix}")
    loaded = EpisodeSet.load(tmp_path / f"episodes.{suffix}")
    parts = [whole.select(np.arange(2)), whole.select(np.arange(2, 6))]
    for same in (loaded, EpisodeSet.concat(parts)):
        assert_same(same, whole)
        assert same.labels is not None
        np.testing.assert_array_equal(same.labels, whole.labels, strict=True)
    with pytest.raises(ValueError, match="1 of 2 parts have labels"):
        EpisodeSet.concat([parts[0], replace(parts[1], labels=None)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_wrong_labels_are_refused(suffix: str, tmp_path: Path) -> None:
    expert = ExpertController()
    whole = collect_episodes(RandomController(), 2, seed=3, expert=expert)
    assert whole.labels is not None
    path = tmp_path / f"episodes.{suffix}"
    state_changed, action_lost = whole.labels.copy(), whole.labels.copy()
    state_changed[1] += 1
    action_lost[5] = DONE
    for labels in (state_changed, action_lost):
        replace(whole, labels=labels).save(path)
        with pytest.raises(ValueError, match=r"label \d+ of token \d+ at [15]"):
            EpisodeSet.load(path)
