"""The language model's training: losses, the schedule, exact resumption, and that it learns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.engine.torch.device import choose_device
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.engine.torch.optimiser import split_parameters
from parley.platform.engine.torch.schedule import learning_rate_factor
from parley.platform.language.dialogue_tokens import TokenDialogues, encode_dialogues
from parley.platform.language.self_talk import hold_dialogue
from parley.platform.language.settings import LanguageModelConfig, LanguageTrainingConfig
from parley.platform.language.tokenizer import train_tokenizer
from parley.platform.language.training import (
    LanguageTrainer,
    build_language_model,
    measure_losses,
)

SIZES = LanguageModelConfig(vocab_size=400, context=48, embed_size=32, layers=2, heads=2)
TRAINING = LanguageTrainingConfig(num_steps=40, batch_tokens=256, warmup_steps=5)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    talks = generate_dialogues(200, seed=0)
    return train_tokenizer((m for talk in talks for m in talk), SIZES.vocab_size, SIZES.context)


@pytest.fixture(scope="module")
def dialogues(tokenizer: PreTrainedTokenizerFast) -> TokenDialogues:
    return encode_dialogues(generate_dialogues(200, seed=0), tokenizer)


def build(tokenizer: PreTrainedTokenizerFast, dropout: float = 0.0) -> GPT2LMHeadModel:
    return build_language_model(SIZES.model_copy(update={"dropout": dropout}), tokenizer, seed=1)


def test_fresh_weights_depend_on_the_seed_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = build(tokenizer), build(tokenizer)
    torch.manual_seed(99)
    other = build_language_model(SIZES, tokenizer, seed=2)
    state = first.state_dict()
    assert all(t.equal(state[name]) for name, t in second.state_dict().items())
    assert any(not t.equal(state[name]) for name, t in other.state_dict().items())
    assert first.config.eos_token_id == tokenizer.eos_token_id


def test_measured_losses_are_those_of_the_model(
    tokenizer: PreTrainedTokenizerFast, dialogues: TokenDialogues
) -> None:
    """Dialogues that fit the context: one forward pass each, without padding."""
    model = build(tokenizer).eval()
    short = dialogues.take(np.flatnonzero(dialogues.lengths <= SIZES.context)[:20].tolist())
    losses = measure_losses(model, short)
    for index in range(len(short)):
        ids = torch.from_numpy(short[index].astype(np.int64))
        with torch.no_grad():
            log_probs = F.log_softmax(model(ids[None]).logits[0, :-1], dim=-1)
        expected = -log_probs.gather(1, ids[1:, None]).sum().item()
        assert losses.nats[index] == pytest.approx(expected, rel=1e-5)
    assert losses.counts.tolist() == (short.lengths - 1).tolist()
    assert losses.mean == pytest.approx(losses.nats.sum() / losses.counts.sum())


def test_long_dialogues_are_measured_on_every_token(
    tokenizer: PreTrainedTokenizerFast, dialogues: TokenDialogues
) -> None:
    longest = dialogues.take([int(dialogues.lengths.argmax())])
    assert longest.lengths[0] > SIZES.context
    losses = measure_losses(build(tokenizer), longest)
    assert losses.counts[0] == longest.lengths[0] - 1
    assert losses.mean == pytest.approx(np.log(len(tokenizer)), rel=0.1)


def test_training_learns_and_is_deterministic(
    tokenizer: PreTrainedTokenizerFast, dialogues: TokenDialogues
) -> None:
    def train() -> tuple[list[float], GPT2LMHeadModel]:
        model = build(tokenizer)
        trainer = LanguageTrainer(model, dialogues, TRAINING, seed=3)
        return [trainer.learn()[0] for _ in range(TRAINING.num_steps)], model

    losses, model = train()
    assert train()[0] == losses
    assert losses[0] == pytest.approx(np.log(len(tokenizer)), rel=0.05)
    heldout = encode_dialogues(generate_dialogues(220, seed=0)[200:], tokenizer)
    assert measure_losses(model, heldout).mean < losses[0] - 0.8


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_restored_trainer_goes_on_as_if_never_stopped(
    dropout: float, tokenizer: PreTrainedTokenizerFast, dialogues: TokenDialogues
) -> None:
    def make() -> LanguageTrainer:
        return LanguageTrainer(build(tokenizer, dropout), dialogues, TRAINING, seed=4)

    whole = make()
    losses = [whole.learn() for _ in range(12)]
    first = make()
    for _ in range(7):
        first.learn()
    second = make()
    second.model.load_state_dict(first.model.state_dict())
    second.restore(first.state())
    assert [second.learn() for _ in range(5)] == losses[7:]
    assert second.num_tokens == whole.num_tokens
    state = whole.model.state_dict()
    assert all(t.equal(state[name]) for name, t in second.model.state_dict().items())


def test_a_loss_that_is_no_number_is_refused(
    tokenizer: PreTrainedTokenizerFast, dialogues: TokenDialogues
) -> None:
    trainer = LanguageTrainer(build(tokenizer), dialogues, TRAINING, seed=0)
    with torch.no_grad():
        trainer.model.transformer.wte.weight[:] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"nan .* gradient step 1; lower training\."):
        trainer.learn()
    assert trainer.num_steps == 0


def test_every_parameter_has_one_optimiser(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build(tokenizer)
    inner, outer = split_parameters(model)
    assert len(inner) == 2 * 4  # attention in and out, feed-forward in and out
    assert {id(p) for p in [*inner, *outer]} == {id(p) for p in model.parameters()}
    assert not {id(p) for p in inner} & {id(p) for p in outer}


def test_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, 10, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1.0
    assert all(later < earlier for earlier, later in pairwise(factors[10:]))
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 1e-3


def test_a_model_talks_with_itself_within_its_context(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build(tokenizer)
    turns = hold_dialogue(model, tokenizer, "Hello.", 9, max_reply_tokens=8, seed=0)
    assert turns == hold_dialogue(model, tokenizer, "Hello.", 9, max_reply_tokens=8, seed=0)
    assert turns[0] == tokenizer.encode("Hello.", add_special_tokens=False)
    assert all(0 < len(turn) <= 8 for turn in turns[1:])
    assert sum(len(turn) + 1 for turn in turns) <= SIZES.context


def test_the_gpu_is_used_only_where_it_is_asked_for() -> None:
    assert choose_device(0).type == "cpu"
    assert choose_device(1).type == ("cuda" if torch.cuda.is_available() else "cpu")
