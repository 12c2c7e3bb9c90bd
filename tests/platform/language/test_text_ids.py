"""One way from text to ids: what parley makes of a text equals what the tokenizer makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from parley.platform.cooperate.dpo.token_pairs import encode_pairs
from parley.platform.cooperate.evaluation.generation import Decoding, encode_fitting, generate
from parley.platform.language.chat_partner import ChatPartner, ChatTurn, Conversation
from parley.platform.language.completions import completion_log_probs
from parley.platform.language.dialogue_tokens import encode_dialogues
from parley.platform.language.text_ids import TextEncoder
from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.policies.dialogue.loading import LanguageModel
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker
from tests.platform.language.tokenizer_fixtures import MAKERS, TEXTS

PROMPT, RESPONSE = TEXTS[4], "I prefer tea at 7 o'clock."
CONTEXT = 128
WITH_BOS = ["byte level with BOS", "llama", "metaspace always", "metaspace first"]


@pytest.fixture(scope="module", params=list(MAKERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return MAKERS[request.param]()


def own_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """What transformers gives, with the tokens that the tokenizer adds by itself."""
    encoded: Any = tokenizer(text)
    return list(encoded["input_ids"])


def test_prompt_and_response_are_the_tokenizers_own_ids(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = TextEncoder(tokenizer)
    for prompt, response in (
        (PROMPT, RESPONSE),
        ("Hello", "you"),
        (f"{PROMPT} ", f" {RESPONSE}\n"),
    ):
        (head,), (tail,) = encoder.encode_prompts([prompt]), encoder.encode_responses([response])
        joined = f"{prompt.strip()} {response.strip()}"
        assert head + tail == [*own_ids(tokenizer, joined), tokenizer.eos_token_id]
        assert head == own_ids(tokenizer, prompt.strip())
    assert encoder.spelt.describe("texts") is None


def test_a_sequence_begins_as_the_tokenizer_begins_it(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = TextEncoder(tokenizer)
    beginning = own_ids(tokenizer, "")
    assert list(encoder.beginning) == beginning
    (ids,) = encoder.encode_prompts([PROMPT])
    assert encoder.cut(ids, len(ids)) == ids
    for room in (1, 5, len(ids) - 1):
        cut = encoder.cut(ids, room)
        assert len(cut) == room and cut[: len(beginning)] == beginning
        assert cut[len(beginning) :] == ids[len(ids) - room + len(beginning) :]
    assert encoder.encode_prompts([""]) == [beginning or [encoder.end_token]]
    assert encoder.encode_turns([RESPONSE]) == [own_ids(tokenizer, RESPONSE)[len(beginning) :]]
    assert encoder.encode_responses([" "]) == [[encoder.end_token]]


def test_a_spelt_end_is_that_texts_end(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder, end = TextEncoder(tokenizer), tokenizer.eos_token
    plain = TextEncoder(tokenizer)
    for text in (f"{RESPONSE}{end}", f" {RESPONSE} {end}\n", f"{RESPONSE}{end} {end}"):
        assert encoder.encode_turns([text]) == plain.encode_turns([RESPONSE])
        assert encoder.encode_responses([text]) == plain.encode_responses([RESPONSE])
        assert encoder.encode_prompts([text]) == plain.encode_prompts([RESPONSE])
    assert encoder.encode_turns([f"{end}", ""]) == [[], []]
    assert (encoder.spelt.marks, encoder.spelt.letters) == (10, 0)
    assert (
        encoder.spelt.describe("texts") == "10 texts spell their own end token, which is left out"
    )
    if tokenizer.bos_token is not None:
        begun = f"{tokenizer.bos_token} {RESPONSE}"
        assert encoder.encode_prompts([begun]) == plain.encode_prompts([RESPONSE])


def test_no_text_becomes_a_control_token(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = TextEncoder(tokenizer)
    control = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    for token in {tokenizer.eos_token, tokenizer.bos_token} - {None}:
        text = f"Hello {token} Ann{token}, do you like tea?"
        (turn,) = encoder.encode_turns([text])
        (prompt,) = encoder.encode_prompts([text])
        (response,) = encoder.encode_responses([text])
        rows = [turn, prompt[len(encoder.beginning) :], response[:-1]]
        assert all(not control & set(row) for row in rows)
    assert encoder.spelt.marks == 0 and encoder.spelt.letters > 0
    described = encoder.spelt.describe("texts")
    assert described is not None and "special token inside, which is read as letters" in described
    assert tokenizer(f"a{tokenizer.eos_token}")["input_ids"][-1] == tokenizer.eos_token_id


def test_letters_of_a_spelt_token_can_be_read_again() -> None:
    tokenizer = MAKERS["byte level"]()
    text = "Write <|endoftext|> at the end."
    (ids,) = TextEncoder(tokenizer).encode_turns([text])
    assert tokenizer.decode(ids) == text and tokenizer.eos_token_id not in ids


def test_every_turn_of_a_dialogue_has_one_end() -> None:
    tokenizer = MAKERS["byte level"]()
    end = tokenizer.eos_token_id
    plain = encode_dialogues([TEXTS[:2], TEXTS[2:4]], tokenizer)
    spelt = [[f"{text} <|endoftext|>" for text in talk] for talk in (TEXTS[:2], TEXTS[2:4])]
    found = encode_dialogues(spelt, tokenizer)
    assert found.tokens.tolist() == plain.tokens.tolist()
    assert found.tokens.tolist().count(end) == 4
    assert (found.spelt.marks, plain.spelt.marks) == (4, 0)


def make_model(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        initializer_range=0.3, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    return LanguageModel(model, tokenizer, int(tokenizer.eos_token_id), CONTEXT, "test")


@pytest.fixture(scope="module", params=WITH_BOS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make_model(MAKERS[request.param]())


@torch.no_grad()
def score_plainly(model: LanguageModel, ids: list[int], count: int) -> list[float]:
    """Log-probabilities of the last `count` ids by one plain pass."""
    logits = model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(ids) - count, len(ids))
    return [float(logits[place - 1, ids[place]]) for place in places]


def test_training_generation_and_measuring_read_the_same_prompt(model: LanguageModel) -> None:
    pair = PreferencePair("p", "c", PROMPT, f"{RESPONSE}</s>", "No.", "manner", "test")
    pairs, _ = encode_pairs([pair], model.tokenizer, CONTEXT, PreferenceDataConfig())  # type: ignore[arg-type]
    (prompt,) = encode_fitting(model, [PROMPT], Decoding(max_new_tokens=8))
    encoder = TextEncoder(model.tokenizer)
    assert pairs.prompts[0].tolist() == prompt == encoder.encode_prompts([PROMPT])[0]
    (tail,) = encoder.encode_responses([RESPONSE])
    if model.tokenizer.eos_token == "</s>":
        assert pairs.chosen[0].tolist() == tail
    sums, counts = completion_log_probs(model, [PROMPT], [RESPONSE])
    assert counts[0] == len(tail)
    assert sums[0] == pytest.approx(sum(score_plainly(model, prompt + tail, len(tail))), abs=1e-3)
    ((response,),) = generate(model, [PROMPT], Decoding(max_new_tokens=8))
    with torch.no_grad():
        drawn = model.model.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=0
        )
    expected = drawn[0, len(prompt) :].tolist()
    assert response.tokens.tolist() == [t for t in expected if t != model.end_token]


def test_cut_prompts_keep_their_beginning(model: LanguageModel) -> None:
    long = " ".join([PROMPT] * 20)
    encoder = TextEncoder(model.tokenizer)
    (begin,) = encoder.beginning
    decoding = Decoding(max_new_tokens=8, max_prompt_tokens=20)
    (prompt,) = encode_fitting(model, [long], decoding)
    assert len(prompt) == 20 and prompt[0] == begin and begin not in prompt[1:]
    data = PreferenceDataConfig.model_validate({"max_prompt_tokens": 20})
    pair = PreferencePair("p", "c", long, RESPONSE, "No.", "manner", "test")
    pairs, counts = encode_pairs([pair], model.tokenizer, CONTEXT, data)  # type: ignore[arg-type]
    assert pairs.prompts[0].tolist() == prompt and counts.cut_prompts == 1
    (tail,) = encoder.encode_responses([RESPONSE])
    sums, _ = completion_log_probs(model, [long], [RESPONSE], max_prompt_tokens=20)
    assert sums[0] == pytest.approx(sum(score_plainly(model, prompt + tail, len(tail))), abs=1e-3)


def test_chat_reads_the_beginning_once_and_keeps_it_when_turns_drop_out(
    model: LanguageModel,
) -> None:
    greedy = Sampling(temperature=0.0, max_reply_tokens=4)
    partner = ChatPartner("seat", model, greedy, window=40)
    encoder = TextEncoder(model.tokenizer)
    conversation = Conversation(model.end_token)
    history: list[int] = []
    rng = np.random.default_rng(0)
    for text in [*TEXTS[:4], f"{RESPONSE}{model.tokenizer.eos_token}"] * 2:
        conversation.turns.append(ChatTurn("you", partner.encode(text)))
        reply = partner.answer(conversation, rng)
        history = conversation.history(partner.window).tolist()
        ids = [*encoder.beginning, *history]
        with torch.no_grad():
            expected = int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        assert (reply or [model.end_token])[0] == expected
        conversation.turns.append(ChatTurn("seat", reply))
    assert len(history) < sum(len(turn.tokens) + 1 for turn in conversation.turns)
    assert partner.window + 4 + len(encoder.beginning) <= CONTEXT


def test_a_speakers_figures_count_what_it_reads_before_a_history(model: LanguageModel) -> None:
    encoder = TextEncoder(model.tokenizer)
    speaker = Speaker(
        model.model, model.end_token, 2, Sampling(max_reply_tokens=4), beginning=encoder.beginning
    )
    assert speaker.context == CONTEXT - 1
    histories = [
        np.array([*ids, model.end_token], np.int32) for ids in encoder.encode_turns(TEXTS[:2])
    ]
    scores = speaker.score([0, 1], histories, [len(history) for history in histories])
    for history, found in zip(histories, scores, strict=True):
        expected = score_plainly(model, [*encoder.beginning, *history], len(history))
        np.testing.assert_allclose(found, expected, atol=1e-4)
    longer = [np.tile(history, 2) for history in histories]  # what was read is not read again
    replies = speaker.reply([0, 1], longer, np.full((2, 4), 0.5), [3, 3])
    for history, reply in zip(longer, replies, strict=True):
        assert reply.scored is not None
        expected = score_plainly(model, [*encoder.beginning, *history], 3)
        np.testing.assert_allclose(reply.scored, expected, atol=1e-4)
        ids = [*encoder.beginning, *history, *reply.tokens.tolist()]
        expected = score_plainly(model, ids, len(reply.tokens))
        np.testing.assert_allclose(reply.full_log_probs, expected, atol=1e-4)
