"""The held-out prompts that every system answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parley.platform.errors import InputError
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.maxims.text.exchange import Exchange, split_prompt


@dataclass(frozen=True)
class Questions:
    """N held-out prompts, each once."""

    pairs: list[PreferencePair]
    contexts: list[tuple[str, str]]
    """Context and evidence of each."""

    @property
    def prompts(self) -> list[str]:
        """Their texts."""
        return [pair.prompt for pair in self.pairs]

    @property
    def conversations(self) -> list[str]:
        """What each was taken from."""
        return [pair.conversation for pair in self.pairs]

    @property
    def num_contexts(self) -> int:
        """Different ones; prompts may differ in their evidence alone."""
        return len({context for context, _ in self.contexts})

    def exchanges(self, responses: Sequence[str]) -> list[Exchange]:
        """Each response in its context."""
        return [
            Exchange(*context, response)
            for context, response in zip(self.contexts, responses, strict=True)
        ]


def choose_questions(pairs: Sequence[PreferencePair], num_prompts: int, seed: int) -> Questions:
    """Different prompts of the pairs, the first pair of each.

    Args:
        pairs: held out.
        num_prompts: how many, drawn at random; 0, or more than there are: all.
        seed: of the draw.

    Raises:
        InputError: there is no pair, or a prompt has another form.
    """
    unique = list({pair.prompt: pair for pair in reversed(pairs)}.values())[::-1]
    if not unique:
        raise InputError("no held-out pair to evaluate on: prepare more conversations")
    if 0 < num_prompts < len(unique):
        drawn = np.random.default_rng(seed).permutation(len(unique))[:num_prompts]
        unique = [unique[i] for i in sorted(drawn)]
    contexts = []
    for pair in unique:
        try:
            contexts.append(split_prompt(pair.prompt))
        except ValueError as error:
            raise InputError(f"pair {pair.id} of {pair.source}: {error}") from error
    return Questions(unique, contexts)
