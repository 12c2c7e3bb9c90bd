"""A tuned generator as a partner in a conversation: it reads prompts, not turns.

The conversation so far becomes the context of a prompt as the generator was trained on; the person
is the first agent, the generator the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from parley.platform.cooperate.evaluation.generation import (
    BrokenModelError,
    Decoding,
    decoding_of,
    generate,
)
from parley.platform.cooperate.evaluation.generator_checkpoint import (
    GENERATOR,
    REFERENCE,
    experiment_of,
    load_policy,
)
from parley.platform.errors import InputError, ParleyError
from parley.platform.language.chat import hold_chat
from parley.platform.language.chat_partner import Agents, ChatPartner, Conversation
from parley.platform.language.text_ids import TextEncoder
from parley.platform.maxims.text.exchange import make_prompt
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.runs.checkpoints import Checkpoint, resolve_checkpoint
from parley.policies.dialogue.loading import LanguageModel

PERSON_LABEL, GENERATOR_LABEL = "[agent_1]", "[agent_2]"
EVIDENCE = "Personal Knowledge"
"""What the data says where the speaker needs no source."""


def chat_path(
    path: Path,
    seat: str | None,
    seed: int,
    temperature: float | None,
    overrides: Sequence[str] = (),
) -> None:
    """Talk to a tuned generator or its reference; see `language.chat.chat_path`.

    Raises:
        InputError: models were named, which the run holds itself; or see there.
    """
    if overrides:
        raise InputError(f"the run holds its models itself: leave out {overrides[0]}")
    hold_chat(GeneratorAgents(resolve_checkpoint(path), temperature), seat, seed)


class GeneratorPartner(ChatPartner):
    """A generator that answers.

    Args:
        seat: its name.
        model: what writes.
        decoding: how.
    """

    def __init__(self, seat: str, model: LanguageModel, decoding: Decoding) -> None:
        self.seat = seat
        self.tokenizer = model.tokenizer
        self.end_token = model.end_token
        self._encoder = TextEncoder(model.tokenizer)
        self.window = model.context - decoding.max_new_tokens
        self._model = model
        self._decoding = decoding

    def answer(self, conversation: Conversation, rng: np.random.Generator) -> list[int]:
        """Draw a response: its ids without the end token.

        Raises:
            ValueError: the newest turn is longer than the agent can read.
            ParleyError: the model's weights are broken.
        """
        prompt = self._fit(self.lines(conversation))
        seed = int(rng.integers(2**31))
        try:
            ((response,),) = generate(self._model, [prompt], self._decoding, seed)
        except BrokenModelError as error:
            raise ParleyError(f"{self.seat} cannot answer: {error}") from error
        return self.encode(response.text)

    def lines(self, conversation: Conversation) -> list[str]:
        """The turns so far, each opened by its speaker; silence leaves no trace."""
        said = [(turn, normalise_space(self.decode(turn.tokens))) for turn in conversation.turns]
        return [
            f"{GENERATOR_LABEL if turn.seat in (GENERATOR, REFERENCE) else PERSON_LABEL}: {text}"
            for turn, text in said
            if text
        ]

    def _fit(self, lines: list[str]) -> str:
        """The prompt with the newest whole turns that leave room for a response.

        Raises:
            ValueError: the newest turn alone does not.
        """
        for first in range(len(lines)):
            prompt = make_prompt(" ".join(lines[first:]), EVIDENCE)
            (ids,) = self._encoder.encode_prompts([prompt])
            if len(ids) <= self.window:
                return prompt
        raise ValueError(f"more than the {self.window} tokens that the agent can read")


class GeneratorAgents(Agents):
    """The tuned generator, and the reference that it was tuned from.

    Args:
        checkpoint: of `dialogue/dpo`.
        temperature: in place of the experiment's; 0: the likeliest tokens.

    Raises:
        InputError: the checkpoint's settings cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, temperature: float | None = None) -> None:
        self._checkpoint = checkpoint
        self._config = experiment_of(checkpoint)
        self._seats = {GENERATOR: {"trained": True}, REFERENCE: {"trained": False}}
        self._partners = {}
        decoding = decoding_of(self._config, "greedy" if temperature == 0 else "sample")
        if temperature:
            decoding = replace(decoding, temperature=temperature)
        self._decoding = decoding

    def _load_partner(self, seat: str) -> ChatPartner:
        model = load_policy(self._checkpoint, seat, self._config)
        return GeneratorPartner(seat, model, self._decoding)
