"""The agents of a dialogue run as partners in a conversation: one row, one model at a time.

What the agents said stays the token ids that they drew, as in training; only what a person types is
encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.errors import InputError, ParleyError, display_path
from parley.platform.language.resolving import resolve_model
from parley.platform.language.text_ids import TextEncoder
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError
from parley.platform.runs.kinds import kind_of_facts
from parley.platform.runs.run_inputs import find_inputs, has_notes
from parley.platform.settings.experiments import settings_class
from parley.platform.settings.loading import setting_at
from parley.platform.settings.resuming import moved_inputs
from parley.platform.settings.spelling import nearest
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import NonFiniteLogitsError, Speaker

ALONE = {
    "sampling": {"temperature": 1.0, "top_k": 50, "top_p": 1.0},
    "dialogue": {"max_reply_tokens": 32, "window": 0},
}
"""How a model speaks whose checkpoint says nothing of dialogues."""


@dataclass(frozen=True)
class ChatTurn:
    """One utterance: exact ids, without the token that ends it."""

    seat: str
    tokens: list[int]


@dataclass
class Conversation:
    """What was said so far."""

    end_token: int
    turns: list[ChatTurn] = field(default_factory=list)

    def history(self, window: int) -> NDArray[np.int32]:
        """The newest whole turns that fit into `window` tokens, an end token behind each: [L].

        An agent that said nothing has left no trace here: in training its silence ends the talk,
        so that no model has seen what comes after one.

        Raises:
            ValueError: the newest turn alone does not fit.
        """
        pieces: list[int] = []
        for turn in reversed([turn for turn in self.turns if turn.tokens]):
            piece = [*turn.tokens, self.end_token]
            if len(piece) + len(pieces) > window:
                break
            pieces = piece + pieces
        if not pieces:
            raise ValueError(f"more than the {window} tokens that the agent can read")
        return np.array(pieces, np.int32)


class ChatPartner:
    """One agent that answers.

    Args:
        seat: its name.
        model: what speaks.
        sampling: how its replies are drawn.
        window: most tokens of the conversation that it sees; 0: as many as the model has room for.
    """

    def __init__(
        self, seat: str, model: LanguageModel, sampling: Sampling, window: int = 0
    ) -> None:
        self.seat = seat
        self.tokenizer = model.tokenizer
        self.end_token = model.end_token
        self._encoder = TextEncoder(model.tokenizer)
        beginning = self._encoder.beginning
        room = model.context - sampling.max_reply_tokens - len(beginning)
        self.window = min(window, room) if window else room
        self._sampling = sampling
        self._speaker = Speaker(model.model, model.end_token, 1, sampling, beginning=beginning)

    def encode(self, text: str) -> list[int]:
        """The ids of a line that a person typed."""
        (ids,) = self._encoder.encode_turns([text])
        return ids

    def decode(self, tokens: list[int]) -> str:
        """The text of ids."""
        return str(self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))

    def answer(self, conversation: Conversation, rng: np.random.Generator) -> list[int]:
        """Draw a reply: its ids without the end token.

        Raises:
            ValueError: the newest turn is longer than the agent can read.
            ParleyError: the model's weights are broken.
        """
        history = conversation.history(self.window)
        uniforms = rng.random((1, self._sampling.max_reply_tokens))
        try:
            (reply,) = self._speaker.reply([0], [history], uniforms)
        except NonFiniteLogitsError as error:
            raise ParleyError(f"{self.seat} cannot answer: {error}") from error
        return [int(token) for token in reply.tokens if token != self.end_token]


class Agents:
    """The seats of a checkpoint; a seat's model is loaded when it is asked for.

    Args:
        checkpoint: of a dialogue run.
        log: told in one line where another model stands in.
        temperature: in place of the one that was trained with.
        overrides: `key=value` of models that lie elsewhere by now.

    Raises:
        CheckpointError: the checkpoint does not say who talks.
        ConfigError: an override names no model of the run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        log: Callable[[str], None],
        temperature: float | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        self._checkpoint = checkpoint
        self._overrides = overrides
        self._log = log
        facts = checkpoint.read_policy_facts()
        try:
            if "seats" not in facts:  # a model that was pretrained speaks alone
                facts = {"seats": {name: {"trained": True} for name in facts["modules"]}, **ALONE}
            self._seats: dict[str, Mapping[str, Any]] = dict(facts["seats"])
            self._configured: Mapping[str, Any] = facts.get("experiment", {}).get("seats", {})
            self._window = int(facts["dialogue"]["window"])
            self._sampling = Sampling(
                **facts["sampling"], max_reply_tokens=int(facts["dialogue"]["max_reply_tokens"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{display_path(checkpoint.path)} is not a checkpoint of a dialogue run: its "
                f"policy.json does not say who talks and how ({type(error).__name__}: {error}); "
                f"name one that parley train dialogue/distort or dialogue/pretrain wrote"
            ) from error
        if temperature is not None:
            self._sampling = replace(self._sampling, temperature=temperature)
        self._partners: dict[str, ChatPartner] = {}

    @property
    def default_seat(self) -> str:
        """The first trained seat."""
        trained = [name for name, entry in self._seats.items() if entry["trained"]]
        return (trained or list(self._seats))[0]

    def is_trained(self, seat: str) -> bool:
        """Whether the seat learned in the run."""
        return bool(self._seats[seat]["trained"])

    def describe(self, seat: str) -> str:
        """A seat's name and whether it learned."""
        return f"{seat} ({'trained' if self.is_trained(seat) else 'frozen'})"

    def seat_after(self, seat: str) -> str:
        """The next seat in order, the first after the last."""
        names = list(self._seats)
        return names[(names.index(seat) + 1) % len(names)]

    def partner(self, seat: str) -> ChatPartner:
        """The agent of a seat.

        Raises:
            InputError: there is no such seat, or its model cannot be loaded.
        """
        if seat not in self._seats:
            known = ", ".join(self._seats)
            raise InputError(f"no seat {seat!r}{nearest(seat, self._seats)}; there are {known}")
        if seat not in self._partners:
            self._partners[seat] = self._load_partner(seat)
        return self._partners[seat]

    def _load_partner(self, seat: str) -> ChatPartner:
        try:
            model = load_language_model(self._source(seat))
        except ValueError as error:
            raise InputError(f"seat {seat!r}: {error}") from error
        return ChatPartner(seat, model, self._sampling, self._window)

    def _source(self, seat: str) -> str:
        """Where a seat's model lies: in the checkpoint, or where the run took it from.

        A folder that is gone, as on another machine, is looked up anew by the configured name.
        """
        if self.is_trained(seat):
            return str(self._checkpoint.policy_folders.get(seat, self._checkpoint.path / seat))
        if has_notes(self._checkpoint):
            facts = self._checkpoint.read_policy_facts()
            config = settings_class(*kind_of_facts(facts)).model_validate(facts["experiment"])
            key, moved = f"seats.{seat}.model", moved_inputs(config, self._overrides)
            found = setting_at(find_inputs(config, self._checkpoint, [key], moved), key)
            return resolve_model(str(found), self._log)
        source = str(self._seats[seat]["model"])
        is_placed = Path(source).is_absolute()
        if not (is_placed and Path(source).is_dir()):
            self._log(f"the run does not say which {source} it began with; taking what is here")
        if is_placed and not Path(source).is_dir():
            source = str(self._configured.get(seat, {}).get("model", source))
        return resolve_model(source, self._log)
