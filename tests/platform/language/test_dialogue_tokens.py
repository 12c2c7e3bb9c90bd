"""Tokenizers, tokens of dialogues, windows and batches: every token, exactly once, in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from parley.envs.labels import IGNORED_LABEL
from parley.platform.language.batches import BatchStream, make_batch, plan_batches
from parley.platform.language.dialogue_tokens import (
    TokenDialogues,
    cover_windows,
    encode_dialogues,
    join_dialogues,
    training_windows,
)
from parley.platform.language.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer

END = 0
TALKS = [["Hello there.", "Hi, how are you?"], ["naïve 東京 🙂", "a\tb", "ok"]]


def random_dialogues(num: int, longest: int, seed: int) -> TokenDialogues:
    """Turns of 1 to 9 tokens; every token has its own id, so that places can be told."""
    random = np.random.default_rng(seed)
    parts, next_id = [], 1
    for _ in range(num):
        ids: list[int] = []
        while len(ids) < random.integers(4, longest):
            turn = int(random.integers(1, 10))
            ids += [*range(next_id, next_id + turn), END]
            next_id += turn
        parts.append(np.array(ids, np.int32))
    return join_dialogues(parts, END)


def test_a_tokenizer_writes_any_text_and_survives_its_folder(tmp_path: Path) -> None:
    tokenizer = train_tokenizer((m for talk in TALKS for m in talk), 300, context=64)
    assert tokenizer.eos_token == tokenizer.bos_token == tokenizer.unk_token == END_OF_TEXT
    tokenizer.save_pretrained(tmp_path)
    for loaded in (load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert len(loaded) == len(tokenizer) <= 300
        assert loaded.model_max_length == 64
        for message in [*TALKS[0], *TALKS[1], "never seen: Ωß\n"]:
            ids = loaded.encode(message, add_special_tokens=False)
            assert ids == tokenizer.encode(message, add_special_tokens=False)
            assert loaded.decode(ids) == message
            assert tokenizer.eos_token_id not in ids


def test_a_vocabulary_below_all_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 257 .* got 256"):
        train_tokenizer(["a"], 256, context=8)


def test_every_turn_is_followed_by_the_end_token() -> None:
    tokenizer = train_tokenizer((m for talk in TALKS for m in talk), 300, context=64)
    encoded = encode_dialogues(TALKS, tokenizer)
    end = encoded.end_token
    for index, talk in enumerate(TALKS):
        expected = [i for m in talk for i in [*tokenizer.encode(m, add_special_tokens=False), end]]
        assert encoded[index].tolist() == expected
    assert encoded.num_targets == len(encoded.tokens) - 2
    assert encoded.take([1])[0].tolist() == encoded[1].tolist()
    for broken, message in (([], "no dialogues"), ([["a"], []], "dialogue 1 has no message")):
        with pytest.raises(ValueError, match=message):
            encode_dialogues(broken, tokenizer)


@pytest.mark.parametrize("context", [8, 16, 64, 1_000])
def test_windows_cover_every_target_once_with_half_a_context(context: int) -> None:
    dialogues = random_dialogues(40, longest=150, seed=context)
    seen = np.zeros(len(dialogues.tokens), np.int64)
    firsts = set(dialogues.offsets[:-1].tolist())
    for window in cover_windows(dialogues, context):
        assert window.start < window.first_target < window.stop
        assert window.length <= context
        seen[window.first_target : window.stop] += 1
        if window.start in firsts:
            assert window.first_target == window.start + 1
        else:
            # A turn has at most 10 tokens, by which the start may come later.
            assert window.first_target - window.start >= min(context // 2 - 10, 1)
            begins = dialogues.tokens[window.start - 1] == END
            assert begins or window.first_target - window.start == context // 2
    first = np.zeros(len(seen), bool)
    first[list(firsts)] = True
    assert (seen[first] == 0).all()
    assert (seen[~first] == 1).all()


def test_training_windows_are_whole_turns_without_overlap() -> None:
    dialogues = random_dialogues(40, longest=150, seed=1)
    cuts = []
    for epoch in range(3):
        windows = training_windows(dialogues, 32, np.random.default_rng(epoch))
        seen = np.zeros(len(dialogues.tokens), np.int64)
        for window in windows:
            assert 1 < window.length <= 32
            assert dialogues.tokens[window.stop - 1] == END
            assert window.start in dialogues.offsets or dialogues.tokens[window.start - 1] == END
            seen[window.start : window.stop] += 1
        assert seen.max() == 1
        assert seen.mean() > 0.99
        cuts.append({window.start for window in windows})
    assert cuts[0] != cuts[1] != cuts[2]


def test_a_turn_longer_than_the_context_is_cut() -> None:
    dialogues = join_dialogues([np.array([*range(1, 50), END], np.int32)], END)
    windows = training_windows(dialogues, 16, np.random.default_rng(0))
    assert [dialogues.tokens[w.start] for w in windows] == [w.start + 1 for w in windows]
    assert sum(window.length for window in windows) == 50


def test_batches_hold_inputs_and_the_tokens_after_them() -> None:
    dialogues = random_dialogues(12, longest=40, seed=2)
    windows = cover_windows(dialogues, 16)
    batch = make_batch(dialogues, windows)
    assert batch.num_targets == dialogues.num_targets
    for row, window in enumerate(windows):
        inside = dialogues.tokens[window.start : window.stop].tolist()
        assert batch.inputs[row, : window.length - 1].tolist() == inside[:-1]
        assert (batch.inputs[row, window.length :] == END).all()
        for place, target in enumerate(batch.targets[row].tolist()):
            position = window.start + place + 1
            wanted = window.first_target <= position < window.stop
            assert target == (dialogues.tokens[position] if wanted else IGNORED_LABEL)


def test_plans_use_every_window_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(2, 60, size=500)
    for random in (None, np.random.default_rng(1)):
        plan = plan_batches(lengths, 256, random)
        assert sorted(np.concatenate(plan).tolist()) == list(range(500))
        filled = [len(chosen) * lengths[chosen].max() for chosen in plan]
        assert max(filled) <= 256
        padding = 1 - lengths.sum() / sum(filled)
        assert padding < 0.15
    assert [len(chosen) for chosen in plan_batches(np.array([300, 300]), 256)] == [1, 1]


def test_a_stream_can_be_taken_up_anywhere() -> None:
    dialogues = random_dialogues(30, longest=80, seed=3)
    stream = BatchStream(dialogues, 32, 128, seed=5)
    batches, places = [], []
    for _ in range(60):
        places.append((stream.epoch, stream.place))
        batches.append(stream.draw())
    assert stream.epoch >= 2
    for index in (0, 7, 59):
        other = BatchStream(dialogues, 32, 128, seed=5)
        other.seek(*places[index])
        batch = other.draw()
        assert batch.inputs.equal(batches[index].inputs)
        assert batch.targets.equal(batches[index].targets)
