"""What the tests of dialogue rollouts and learners share: tiny models, casts, played batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from parley.envs.dialogue.reward import ReplyReward
from parley.envs.dialogue.rules import DialogueSettings
from parley.platform.distort.player import TRAINING, DialoguePlayer, SeatModels
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker

V, WIDTH, CONTEXT, END = 80, 32, 160, 0
LIMIT = 6
"""Tokens of a reply."""
SEED = 3
COMPETITOR = 6
"""Seed of a model that sometimes says nothing."""
PLAIN = Sampling(max_reply_tokens=LIMIT)
SAMPLINGS = {
    "plain": PLAIN,
    "top_k": Sampling(top_k=50, max_reply_tokens=LIMIT),
    "top_p": Sampling(top_p=0.9, max_reply_tokens=LIMIT),
    "temperature": Sampling(temperature=0.7, max_reply_tokens=LIMIT),
    "all": Sampling(temperature=0.7, top_k=50, top_p=0.9, max_reply_tokens=LIMIT),
}
Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]


def make_model(seed: int) -> PreTrainedModel:
    """A GPT-2 of strong opinions, which often ends its replies."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=V,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=CONTEXT,
        initializer_range=0.2,
        bos_token_id=END,
        eos_token_id=END,
        tie_word_embeddings=False,  # tied, an end token would call for the next one
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.lm_head.weight[END] *= 2.0
    return model


def make_value_head(seed: int) -> nn.Linear:
    """A head that has opinions too; a new policy's knows nothing."""
    torch.manual_seed(seed)
    return nn.Linear(WIDTH, 1)


def make_policy(seed: int) -> DialogueActorCritic:
    """A policy as learners hold it, with values that are not all zero."""
    policy = DialogueActorCritic(make_model(seed))
    policy.value_head.load_state_dict(make_value_head(seed).state_dict())
    return policy


def make_settings(
    seats: tuple[str, ...] = ("distorter", "competitor"), **changes: Any
) -> DialogueSettings:
    """Rules that tiny models can follow."""
    settings: dict[str, Any] = {
        "max_turns": 5,
        "max_reply_tokens": LIMIT,
        "window": 60,
        "end_token": END,
        "vocab_size": V,
    }
    return DialogueSettings(seats=seats, **(settings | changes))


def speak(
    model: PreTrainedModel, sampling: Sampling, num_rows: int, head: nn.Module | None = None
) -> Speaker:
    """A speaker of `num_rows` dialogues."""
    return Speaker(model, END, num_rows, sampling, head)


def make_cast(
    policy: DialogueActorCritic,
    sampling: Sampling = PLAIN,
    num_rows: int = 16,
    competitor: int = COMPETITOR,
    start: int | None = None,
) -> SeatModels:
    """A distorter that learns and a competitor that judges.

    Args:
        policy: the distorter's.
        sampling: of both.
        num_rows: dialogues.
        competitor: seed of its model.
        start: seed of the model that the distorter began as; None: the competitor's own.
    """
    judge = speak(make_model(competitor), sampling, num_rows)
    began = judge if start is None else speak(make_model(start), sampling, num_rows)
    distorter = speak(policy.language_model, sampling, num_rows, policy.value_head)
    return SeatModels({"distorter": distorter, "competitor": judge}, judge, {"distorter": began})


def draw_openers(num_openers: int, seed: int = 0) -> list[Tokens]:
    """Openers of one to eight ids."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 9, num_openers)
    return [generator.integers(1, V, size).astype(np.int32) for size in sizes]


def play(
    cast: SeatModels,
    settings: DialogueSettings | None = None,
    num_dialogues: int = 16,
    seed: int = SEED,
) -> list[PlayedDialogue]:
    """One batch of training dialogues."""
    player = DialoguePlayer(settings or make_settings(), cast, seed, TRAINING)
    return player.play(range(num_dialogues), draw_openers(num_dialogues))


@torch.no_grad()
def read_reply(
    model: PreTrainedModel, dialogue: PlayedDialogue, turn: PlayedTurn
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, V] and hidden states [n, D] before a reply's tokens, by one plain forward pass.

    The model reads the history that the speaker saw and the reply; no cache, no batch.
    """
    stop = turn.start + len(turn.tokens)
    ids = torch.from_numpy(dialogue.tokens[turn.history_start : stop].astype(np.int64))[None]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    logits = model(input_ids=ids, use_cache=False).logits[0]
    before = slice(-1 - len(turn.tokens), -1)
    return logits[before], hidden[before]


def score_reply(model: PreTrainedModel, dialogue: PlayedDialogue, turn: PlayedTurn) -> Floats:
    """The model's log-probabilities [n] of a reply's tokens, likewise."""
    logits, _ = read_reply(model, dialogue, turn)
    return pick(logits.log_softmax(dim=-1), turn.tokens)


def pick(table: torch.Tensor, tokens: Tokens) -> Floats:
    """The entries [n] of a table [n, V] at `tokens`."""
    columns = torch.from_numpy(tokens.astype(np.int64))[:, None]
    picked: Floats = table.gather(1, columns)[:, 0].numpy()
    return picked


def draw_rewards(
    dialogues: Sequence[PlayedDialogue], seat: str, seed: int = 0
) -> list[list[ReplyReward]]:
    """Random rewards of a seat's replies."""
    generator = np.random.default_rng(seed)

    def draw(turn: PlayedTurn) -> ReplyReward:
        tokens = generator.normal(size=len(turn.tokens)).astype(np.float32)
        return ReplyReward(0.0, float(tokens.sum()), 0.0, 0.0, tokens)

    return [[draw(turn) for turn in dialogue.turns_of([seat])] for dialogue in dialogues]
