"""Which pairs stand together, and how they lie in the tensors that a model reads.

A prompt is read once for all responses to it, and a response once for all pairs that hold it. A
row of a batch is made of documents, each a prompt and the responses to it, branches that do not see
each other:

    tokens     p p p p c c c r r r r q q q c c r r -
    positions  0 1 2 3 4 5 6 4 5 6 7 0 1 2 3 4 3 4 0
    documents  0 0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 -1
    branches   0 0 0 0 1 1 1 2 2 2 2 0 0 0 1 1 2 2 0

A position sees those before it in its document that are of the prompt or of its own branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.platform.learners.dpo_data import CHOSEN, REJECTED, TokenPairs

LENGTH_JITTER = 0.2
"""Prompts are sorted by the length of their document times 1 to 1.2: no pass equals the last."""
LOOKAHEAD = 24
"""Prompts in order of length among which one is sought whose pairs fill a batch exactly."""


@dataclass(frozen=True)
class PackedResponses:
    """R rows of L tokens that hold T response tokens to score, and where the pairs find them."""

    input_ids: Tensor
    """int64 [R, L]: padded with the end-of-text token."""
    position_ids: Tensor
    """int64 [R, L]: as if each response followed its prompt alone."""
    documents: Tensor
    """int64 [R, L]: numbers the documents of a row; -1 on padding."""
    branches: Tensor
    """int64 [R, L]: 0 for the prompt, then one number for each response."""
    rows: Tensor
    """int64 [T]: row of the position that predicts each response token."""
    columns: Tensor
    """int64 [T]: and its column."""
    targets: Tensor
    """int64 [T]: the response tokens."""
    places: Tensor
    """int64 [2B, C]: where the tokens of the B chosen, then of the B rejected responses lie among
    the T; T where a response has ended."""

    @property
    def tree_mask(self) -> Tensor:
        """bool [R, 1, L, L]: which positions (last axis) a position sees; padding sees padding."""
        width = self.branches.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.branches.device).tril_()
        branches, documents = self.branches[:, None, :], self.documents[:, None, :]
        seen = (branches == 0) | (branches == self.branches[:, :, None])
        return (causal & seen & (documents == self.documents[:, :, None])).unsqueeze(1)

    @property
    def num_tokens(self) -> int:
        """Tokens that are no padding."""
        return int((self.documents >= 0).sum())

    def to(self, device: torch.device) -> PackedResponses:
        """The same on `device`."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return PackedResponses(**moved)


@dataclass
class _Document:
    """A prompt and the different responses to it."""

    prompt: NDArray[np.int32]
    responses: list[NDArray[np.int32]] = field(default_factory=list)
    first_targets: list[int] = field(default_factory=list)
    """Where the tokens of each response lie among the T."""

    @property
    def length(self) -> int:
        return len(self.prompt) + sum(map(len, self.responses))


def pack_pairs(
    pairs: TokenPairs, chosen: Sequence[int] | NDArray[np.int64], shared: bool = True
) -> PackedResponses:
    """The rows of the pairs at the indices `chosen`, int64 [B].

    Args:
        pairs: all pairs.
        chosen: which of them; in this order they stand in `places`.
        shared: responses share their prompt, and documents a row; else each response has a row
            with the prompt to itself.
    """
    documents: dict[bytes, _Document] = {}
    known: dict[tuple[bytes, bytes], range] = {}
    num_targets = 0
    found: list[range] = []
    for side in (CHOSEN, REJECTED):
        for pair in chosen:
            prompt, response = pairs.prompts[pair], pairs.response(int(pair), side)
            key = (prompt.tobytes(), response.tobytes())
            if key not in known:
                known[key] = range(num_targets, num_targets + len(response))
                name = key[0] if shared else b"%d" % num_targets
                document = documents.setdefault(name, _Document(prompt))
                document.responses.append(response)
                document.first_targets.append(num_targets)
                num_targets += len(response)
            found.append(known[key])
    places = np.full((len(found), max(map(len, found))), num_targets, np.int64)
    for place, targets in zip(places, found, strict=True):
        place[: len(targets)] = targets
    filled = list(documents.values())
    rows = _fill_rows(filled) if shared else [[document] for document in filled]
    return _to_tensors(rows, places, num_targets, pairs.end_token)


def _fill_rows(documents: Sequence[_Document]) -> list[list[_Document]]:
    """Few rows, none longer than the longest document: each goes where it leaves least room."""
    longest_first = sorted(documents, key=lambda document: -document.length)
    width = longest_first[0].length
    rows: list[list[_Document]] = []
    rooms: list[int] = []
    for document in longest_first:
        fitting = [n for n, room in enumerate(rooms) if room >= document.length]
        if fitting:
            row = min(fitting, key=rooms.__getitem__)
        else:
            row = len(rows)
            rows.append([])
            rooms.append(width)
        rows[row].append(document)
        rooms[row] -= document.length
    return rows


def _to_tensors(
    rows: Sequence[Sequence[_Document]],
    places: NDArray[np.int64],
    num_targets: int,
    end_token: int,
) -> PackedResponses:
    shape = (len(rows), max(sum(document.length for document in row) for row in rows))
    tokens = np.full(shape, end_token, np.int64)
    positions, branches = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    numbers = np.full(shape, -1, np.int64)
    targets, target_rows, target_columns = np.zeros((3, num_targets), np.int64)
    for r, row in enumerate(rows):
        end = 0
        for number, document in enumerate(row):
            depth = len(document.prompt)
            numbers[r, end : end + document.length] = number
            tokens[r, end : end + depth] = document.prompt
            positions[r, end : end + depth] = np.arange(depth)
            end = last = end + depth
            responses = zip(document.responses, document.first_targets, strict=True)
            for branch, (response, first) in enumerate(responses, 1):
                length = len(response)
                span, place = slice(end, end + length), slice(first, first + length)
                tokens[r, span], branches[r, span] = response, branch
                positions[r, span] = depth + np.arange(length)
                targets[place], target_rows[place] = response, r
                target_columns[place] = np.arange(end - 1, end + length - 1)
                target_columns[first] = last - 1
                end += length
    arrays = (
        tokens, positions, numbers, branches, target_rows, target_columns, targets, places
    )  # fmt: skip
    return PackedResponses(*(torch.from_numpy(array) for array in arrays))


def plan_steps(
    pairs: TokenPairs, batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The pairs of each gradient step of one pass, a function of (seed, epoch).

    Pairs of one prompt stand together where they fit, prompts with rows of similar length beside
    each other, and the steps come in random order.

    Returns:
        For each step the indices of its pairs, int64 [B]; B is `batch_size` but for one step.
    """
    random = np.random.default_rng([seed, epoch])
    jitter = 1.0 + LENGTH_JITTER * random.random(len(pairs))
    waiting = iter(_sorted_groups(pairs, random.permutation(len(pairs)), jitter))
    window = [group.pairs for group in islice(waiting, LOOKAHEAD)]
    plan: list[NDArray[np.int64]] = []
    batch: list[int] = []
    while window:
        room = batch_size - len(batch)
        chosen = next((n for n, group in enumerate(window) if len(group) <= room), 0)
        batch += window[chosen][:room]
        window[chosen] = window[chosen][room:]
        if not window[chosen]:
            del window[chosen]
            window += [group.pairs for group in islice(waiting, 1)]
        if len(batch) == batch_size or not window:
            plan.append(np.array(batch, np.int64))
            batch = []
    return [plan[index] for index in random.permutation(len(plan))]


def plan_scoring(pairs: TokenPairs, batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches of pairs to score: rows by length, as many as fit `batch_tokens` with padding.

    Returns:
        For each batch the indices of its pairs, int64 [B]; every pair is in one.
    """
    plan: list[list[int]] = [[]]
    num_rows, widest = 0, 0
    for group in _sorted_groups(pairs, np.arange(len(pairs)), np.ones(len(pairs))):
        widest = max(widest, group.length)
        if plan[-1] and (num_rows + 1) * widest > batch_tokens:
            plan.append([])
            num_rows, widest = 0, group.length
        plan[-1] += group.pairs
        num_rows += 1
    return [np.array(batch, np.int64) for batch in plan]


@dataclass
class _Group:
    """The pairs of one prompt."""

    pairs: list[int]
    length: int
    """Tokens of their row."""


def _sorted_groups(
    pairs: TokenPairs, order: NDArray[np.int64], jitter: NDArray[np.float64]
) -> list[_Group]:
    """The pairs of each prompt in `order` [N], prompts by their rows' jittered lengths."""
    groups: dict[int, _Group] = {}
    seen: set[tuple[int, bytes]] = set()
    prompt_lengths = pairs.prompts.lengths
    for pair in order.tolist():
        number = int(pairs.prompt_groups[pair])
        group = groups.setdefault(number, _Group([], int(prompt_lengths[pair])))
        group.pairs.append(pair)
        for side in (CHOSEN, REJECTED):
            response = pairs.response(pair, side)
            key = (number, response.tobytes())
            if key not in seen:
                seen.add(key)
                group.length += len(response)
    return sorted(groups.values(), key=lambda g: g.length * jitter[pairs.prompt_groups[g.pairs[0]]])
