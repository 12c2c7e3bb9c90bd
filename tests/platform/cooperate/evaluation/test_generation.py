"""Writing responses and scoring them: the same as a plain model gives, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parley.platform.cooperate.evaluation.generation import BrokenModelError, Decoding, generate
from parley.platform.language.completions import completion_log_probs
from parley.platform.language.text_ids import TextEncoder
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from parley.policies.dialogue.reader_choice import choose_reader
from parley.policies.dialogue.reading import RereadingReader

PROMPTS = [
    "Hello, how are you?",
    "Do you like tea or do you like coffee in the morning? I like both. What do you do?",
    "Yes",
    "I went to the cinema on Sunday.",
    "What is your favourite film? Mine is about a dog that finds its way home.",
]


@pytest.fixture(scope="module")
def model(quick_model_folder: Path) -> LanguageModel:
    return load_language_model(quick_model_folder)


@torch.no_grad()
def continue_plainly(model: LanguageModel, ids: list[int], limit: int) -> list[int]:
    """Greedy tokens by whole forward passes, without a cache."""
    written: list[int] = []
    while len(written) < limit and (not written or written[-1] != model.end_token):
        logits = model.model(input_ids=torch.tensor([ids + written])).logits
        written.append(int(logits[0, -1].argmax()))
    return written


def test_greedy_is_the_likeliest_token_each_time(model: LanguageModel) -> None:
    found = generate(model, PROMPTS, Decoding(max_new_tokens=12, batch_size=2))
    for ids, (response,) in zip(
        TextEncoder(model.tokenizer).encode_prompts(PROMPTS), found, strict=True
    ):
        expected = continue_plainly(model, ids, 12)
        assert response.closed == (expected[-1] == model.end_token)
        assert response.tokens.tolist() == [t for t in expected if t != model.end_token]


def test_the_batch_changes_nothing_and_the_seed_decides(model: LanguageModel) -> None:
    def texts(batch_size: int, seed: int) -> list[list[str]]:
        decoding = Decoding(
            "sample", max_new_tokens=12, num_candidates=4, temperature=1.0, batch_size=batch_size
        )
        return [[r.text for r in row] for row in generate(model, PROMPTS, decoding, seed)]

    alone = texts(1, seed=3)
    assert [len(row) for row in alone] == [4] * len(PROMPTS)
    assert texts(8, seed=3) == alone
    assert texts(64, seed=3) == alone
    assert texts(64, seed=4) != alone
    assert len({text for row in alone for text in row}) > len(PROMPTS)


def test_draws_follow_the_models_distribution(model: LanguageModel) -> None:
    decoding = Decoding(
        "sample", max_new_tokens=1, num_candidates=2_000, temperature=1.0, top_p=1.0
    )
    (responses,) = generate(model, PROMPTS[:1], decoding)
    drawn = [int(r.tokens[0]) if len(r.tokens) else model.end_token for r in responses]
    (ids,) = TextEncoder(model.tokenizer).encode_prompts(PROMPTS[:1])
    with torch.no_grad():
        probs = model.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1).numpy()
    counts = np.bincount(drawn, minlength=len(probs))
    likely = np.argsort(-probs)[:5]
    error = 4 * np.sqrt(probs[likely] * (1 - probs[likely]) / 2_000)
    assert (np.abs(counts[likely] / 2_000 - probs[likely]) < error).all()


def test_beams_are_at_least_as_likely_as_greedy_ones(model: LanguageModel) -> None:
    greedy = generate(model, PROMPTS, Decoding(max_new_tokens=8))
    beams = generate(model, PROMPTS, Decoding("beam", max_new_tokens=8, batch_size=2))
    alone = generate(model, PROMPTS, Decoding("beam", max_new_tokens=8, batch_size=1))
    assert [row[0].text for row in beams] == [row[0].text for row in alone]
    one = generate(model, PROMPTS, Decoding("beam", max_new_tokens=8, num_beams=1))
    assert [row[0].text for row in one] == [row[0].text for row in greedy]
    scores = [
        completion_log_probs(model, PROMPTS, [row[0].text for row in found])
        for found in (beams, greedy)
    ]
    per_token = [sums.sum() / counts.sum() for sums, counts in scores]
    assert per_token[0] >= per_token[1] - 0.05


def test_long_prompts_are_cut_from_the_left(model: LanguageModel) -> None:
    long = " ".join(PROMPTS * 40)
    decoding = Decoding(max_new_tokens=8)
    (ids,) = TextEncoder(model.tokenizer).encode_prompts([long])
    expected = continue_plainly(model, ids[-(model.context - 8) :], 8)
    ((response,),) = generate(model, [long], decoding)
    assert response.tokens.tolist() == [t for t in expected if t != model.end_token]
    ((short,),) = generate(model, [long], Decoding(max_new_tokens=8, max_prompt_tokens=5))
    expected = continue_plainly(model, ids[-5:], 8)
    assert short.tokens.tolist() == [t for t in expected if t != model.end_token]
    with pytest.raises(ValueError, match="no room for a prompt"):
        generate(model, [long], Decoding(max_new_tokens=model.context))


def test_odd_prompts_and_settings(model: LanguageModel) -> None:
    assert generate(model, [], Decoding()) == []
    found = generate(model, ["", "<|endoftext|>", "\n"], Decoding(max_new_tokens=4))
    assert found[0][0].text == found[1][0].text
    with pytest.raises(ValueError, match="draw them"):
        Decoding("greedy", num_candidates=2)


def test_training_mode_is_restored_and_broken_weights_are_told(quick_model_folder: Path) -> None:
    model = load_language_model(quick_model_folder)
    model.model.train()
    generate(model, PROMPTS[:1], Decoding(max_new_tokens=2))
    assert model.model.training
    with torch.no_grad():
        model.model.get_output_embeddings().weight[5] = torch.nan
    with pytest.raises(BrokenModelError, match="not finite"):
        generate(model, PROMPTS[:1], Decoding(max_new_tokens=2))


def test_a_text_ends_at_its_first_line(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.tokenizer, "decode", lambda *a, **k: "\n  So\tit is.  \nNo more.")
    ((response,),) = generate(model, PROMPTS[:1], Decoding(max_new_tokens=2))
    assert response.text == "So it is."


def test_both_readers_share_a_prompt_among_candidates(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = Decoding("sample", max_new_tokens=6, num_candidates=3, temperature=1.0)
    cached = generate(model, PROMPTS, decoding)
    assert not isinstance(choose_reader(model.model, 1, 8), RereadingReader)
    monkeypatch.setattr(
        "parley.platform.cooperate.evaluation.generation.choose_reader",
        lambda model, num_rows, context: RereadingReader(model),
    )
    reread = generate(model, PROMPTS, decoding)
    assert [[r.text for r in row] for row in cached] == [[r.text for r in row] for row in reread]


@torch.no_grad()
def score_plainly(model: LanguageModel, head: list[int], tail: list[int]) -> float:
    logits = model.model(input_ids=torch.tensor([head + tail])).logits[0]
    log_probs = logits.log_softmax(-1)[len(head) - 1 : -1]
    return float(log_probs[torch.arange(len(tail)), torch.tensor(tail)].sum())


def test_completions_are_scored_as_by_a_plain_pass(model: LanguageModel) -> None:
    responses = ["Fine.", "I do.", "", "It was a very long film about the sea and the sky.", "So"]
    heads = TextEncoder(model.tokenizer).encode_prompts(PROMPTS)
    tails = TextEncoder(model.tokenizer).encode_responses(responses)
    expected = [score_plainly(model, h, t) for h, t in zip(heads, tails, strict=True)]
    for batch_tokens in (1, 60, 8_192):
        sums, counts = completion_log_probs(model, PROMPTS, responses, batch_tokens=batch_tokens)
        np.testing.assert_allclose(sums, expected, atol=1e-3)
        assert counts.tolist() == [len(tail) for tail in tails]
    assert [tail[-1] for tail in tails] == [model.end_token] * 5


def test_all_responses_to_a_prompt_see_the_same_part_of_it(model: LanguageModel) -> None:
    long = " ".join(PROMPTS * 40)
    responses = ["Fine.", "I like tea and I like coffee in the morning."]
    sums, counts = completion_log_probs(model, [long, long], responses)
    (ids,) = TextEncoder(model.tokenizer).encode_prompts([long])
    tails = TextEncoder(model.tokenizer).encode_responses(responses)
    head = ids[-(model.context - max(map(len, tails))) :]
    np.testing.assert_allclose(sums, [score_plainly(model, head, t) for t in tails], atol=1e-3)
    cut, _ = completion_log_probs(model, [long], responses[:1], max_prompt_tokens=4)
    assert cut[0] == pytest.approx(score_plainly(model, ids[-4:], tails[0]), abs=1e-3)
    _, counts = completion_log_probs(model, ["Hi"], [long])
    assert counts[0] == model.context - 1
    assert len(completion_log_probs(model, [], [])[0]) == 0
    with pytest.raises(ValueError, match="one for each"):
        completion_log_probs(model, ["Hi"], [])
