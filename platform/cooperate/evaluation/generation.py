"""Responses to prompts: greedily, by beam search, or several drawn ones for each prompt.

A prompt is read once for all its candidates, prompts of similar length stand in one batch, and
what a prompt is answered depends on the seed and its place in the list, not on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.platform.cooperate.evaluation.beam_search import BeamWriter
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.errors import ParleyError
from parley.platform.language.text_ids import TextEncoder
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.terminal.activities import activity
from parley.policies.dialogue.loading import LanguageModel
from parley.policies.dialogue.output_head import make_head
from parley.policies.dialogue.probing import evaluating
from parley.policies.dialogue.reader_choice import choose_reader
from parley.policies.dialogue.reading import Reader
from parley.policies.dialogue.sampling import Sampling, draw

Method = Literal["greedy", "beam", "sample"]


class BrokenModelError(ParleyError, FloatingPointError):
    """A model that can say nothing any more."""


@dataclass(frozen=True)
class Decoding:
    """How responses are written.

    Attributes:
        method: the likeliest token each time, beam search, or drawn tokens.
        max_new_tokens: longest response, a closing end token included.
        num_candidates: responses to each prompt; more than one only where they are drawn.
        num_beams: of beam search; one beam is greedy.
        temperature, top_p: of drawn tokens.
        batch_size: responses that are written together.
        max_prompt_tokens: longer prompts are cut from the left; 0: only as the context asks.

    Raises:
        ValueError: several candidates of a method that has only one.
    """

    method: Method = "greedy"
    max_new_tokens: int = 48
    num_candidates: int = 1
    num_beams: int = 4
    temperature: float = 0.8
    top_p: float = 0.9
    batch_size: int = 64
    max_prompt_tokens: int = 0

    def __post_init__(self) -> None:
        if self.method != "sample" and self.num_candidates != 1:
            raise ValueError(
                f"{self.method} decoding gives one response to a prompt, not "
                f"{self.num_candidates}; draw them with method='sample'"
            )


@dataclass(frozen=True)
class Response:
    """What a model wrote.

    Attributes:
        text: up to the end token or the first line break, white space made plain.
        tokens: all that it wrote, int64 [n], without the end token.
        closed: whether it ended the response itself.
    """

    text: str
    tokens: NDArray[np.int64]
    closed: bool


def decoding_of(config: DialogueDPOConfig, method: Method, num_candidates: int = 1) -> Decoding:
    """The settings of an experiment for one method."""
    settings = config.generation
    return Decoding(
        method=method,
        max_new_tokens=settings.max_new_tokens,
        num_candidates=num_candidates,
        num_beams=settings.num_beams,
        temperature=settings.temperature,
        top_p=settings.top_p,
        batch_size=settings.batch_size,
        max_prompt_tokens=config.data.max_prompt_tokens,
    )


def generate(
    language_model: LanguageModel, prompts: Sequence[str], decoding: Decoding, seed: int = 0
) -> list[list[Response]]:
    """The responses to each prompt.

    A prompt that leaves no room for `max_new_tokens` in the model's context is cut from the left.

    Args:
        language_model: what writes; afterwards it is in the mode it was in.
        prompts: N texts.
        decoding: how.
        seed: of drawn tokens.

    Returns:
        N lists of `num_candidates` responses.

    Raises:
        ValueError: `max_new_tokens` fills the model's context, or the model cannot speak.
        BrokenModelError: the model's logits are not finite.
    """
    encoded = encode_fitting(language_model, prompts, decoding)
    order = np.argsort([-len(ids) for ids in encoded], kind="stable")
    num_together = max(1, decoding.batch_size // decoding.num_candidates)
    written: dict[int, list[list[int]]] = {}
    with (
        evaluating(language_model.model),
        torch.inference_mode(),
        activity("answering", len(prompts), "prompts") as answering,
    ):
        write = _writer(language_model, decoding, seed, num_together)
        for first in range(0, len(order), num_together):
            places = [int(i) for i in order[first : first + num_together]]
            rows = write(places, [encoded[i] for i in places])
            written.update(zip(places, rows, strict=True))
            answering.advance(len(places))
    return [
        [_to_response(language_model, tokens) for tokens in written[i]] for i in range(len(prompts))
    ]


def encode_fitting(
    language_model: LanguageModel, prompts: Sequence[str], decoding: Decoding
) -> list[list[int]]:
    """The ids of each prompt that `generate` has the model read.

    Raises:
        ValueError: `max_new_tokens` fills the model's context.
    """
    room = language_model.context - decoding.max_new_tokens
    if room < 1:
        raise ValueError(
            f"max_new_tokens {decoding.max_new_tokens} leaves no room for a prompt in the model's "
            f"context of {language_model.context} tokens; lower generation.max_new_tokens"
        )
    room = min(room, decoding.max_prompt_tokens or room)
    encoder = TextEncoder(language_model.tokenizer)
    return [encoder.cut(ids, room) for ids in encoder.encode_prompts(prompts)]


class _DrawingWriter:
    """Draws tokens, or takes the likeliest, for batches of prompts."""

    def __init__(
        self, language_model: LanguageModel, decoding: Decoding, seed: int, num_together: int
    ) -> None:
        model = language_model.model
        self._end_token = language_model.end_token
        self._decoding = decoding
        self._seed = seed
        self._head = make_head(model)
        self._device = model.device
        num_rows = num_together * decoding.num_candidates
        self._reader: Reader = choose_reader(model, num_rows, language_model.context)
        temperature = decoding.temperature if decoding.method == "sample" else 0.0
        self._sampling = Sampling(temperature=temperature, top_p=decoding.top_p)

    def __call__(
        self, places: Sequence[int], prompts: Sequence[list[int]]
    ) -> list[list[list[int]]]:
        """The ids of each prompt's candidates, end tokens included."""
        num = self._decoding.num_candidates
        firsts = [i * num for i in range(len(prompts))]
        hidden, _ = self._reader.read(
            firsts, [np.array(ids, np.int64) for ids in prompts], [0] * len(prompts)
        )
        for row in firsts:
            if num > 1:
                self._reader.copy(row, range(row + 1, row + num))
        rows = self._speak(hidden.repeat_interleave(num, dim=0), self._draw_uniforms(places))
        return [rows[row : row + num] for row in firsts]

    def _draw_uniforms(self, places: Sequence[int]) -> Tensor:
        """float64 [R, max_new_tokens]; a prompt's do not depend on its batch."""
        shape = (self._decoding.num_candidates, self._decoding.max_new_tokens)
        drawn = [np.random.default_rng([self._seed, place]).random(shape) for place in places]
        return torch.from_numpy(np.concatenate(drawn)).to(self._device)

    def _speak(self, hidden: Tensor, uniforms: Tensor) -> list[list[int]]:
        """Write until all rows have ended; hidden [R, D] stands at the ends of the prompts."""
        num_rows, limit = uniforms.shape
        rows: list[list[int]] = [[] for _ in range(num_rows)]
        speaking = self._reader.start(range(num_rows))
        places = torch.from_numpy(speaking).to(self._device)
        hidden, uniforms = hidden[places], uniforms[places]
        for step in range(limit):
            logits = self._head(hidden)
            if not logits.isfinite().all():
                raise BrokenModelError(
                    "the model's logits are not finite: its weights are broken, most often by a "
                    "learning rate that is too high; go back to an earlier checkpoint"
                )
            tokens = draw(logits, uniforms[:, step], self._sampling).tokens
            ids = tokens.cpu().numpy()
            for row, token in zip(speaking, ids, strict=True):
                rows[row].append(int(token))
            still = ids != self._end_token
            if step + 1 == limit or not still.any():
                break
            if not still.all():
                kept = self._reader.narrow(still)
                speaking = speaking[kept]
                places = torch.from_numpy(kept).to(self._device)
                tokens, uniforms = tokens[places], uniforms[places]
            hidden = self._reader.step(tokens)
        return rows


def _writer(
    language_model: LanguageModel, decoding: Decoding, seed: int, num_together: int
) -> _DrawingWriter | BeamWriter:
    if decoding.method == "beam" and decoding.num_beams > 1:
        return BeamWriter(language_model, decoding.num_beams, decoding.max_new_tokens)
    return _DrawingWriter(language_model, decoding, seed, num_together)


def _to_response(language_model: LanguageModel, tokens: list[int]) -> Response:
    closed = bool(tokens) and tokens[-1] == language_model.end_token
    spoken = tokens[:-1] if closed else tokens
    text = str(language_model.tokenizer.decode(spoken, clean_up_tokenization_spaces=False))
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    return Response(normalise_space(first_line), np.array(spoken, np.int64), closed)
