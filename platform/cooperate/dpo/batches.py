"""Which pairs stand together, and how they lie in the tensors that a model reads.

A prompt is read once for all responses to it, and a response once for all pairs that hold it. A row
of a batch is a prompt and the responses to it, branches that do not see each other:

    tokens     p p p p c c c r r r r - -
    positions  0 1 2 3 4 5 6 4 5 6 7 0 0
    branches   0 0 0 0 1 1 1 2 2 2 2 -1 -1

A position sees those before it that are of the prompt or of its own branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.platform.cooperate.dpo.token_pairs import CHOSEN, REJECTED, TokenPairs

LENGTH_JITTER = 0.2
"""Prompts are sorted by the length of their row times 1 to 1.2: no pass equals the last."""
LOOKAHEAD = 24
"""Prompts in order of length among which one is sought whose pairs fill a batch exactly."""


@dataclass(frozen=True)
class PackedResponses:
    """R rows of L tokens that hold T response tokens to score, and where the pairs find them."""

    input_ids: Tensor
    """int64 [R, L]: padded with the end-of-text token."""
    position_ids: Tensor
    """int64 [R, L]: as if each response followed its prompt alone."""
    branches: Tensor
    """int64 [R, L]: 0 for the prompt, then one number for each response; -1 on padding."""
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
        keys, queries = self.branches[:, None, :], self.branches[:, :, None]
        return (causal & ((keys == 0) | (keys == queries))).unsqueeze(1)

    @property
    def num_tokens(self) -> int:
        """Tokens that are no padding."""
        return int((self.branches >= 0).sum())

    def to(self, device: torch.device) -> PackedResponses:
        """The same on `device`."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return PackedResponses(**moved)


@dataclass
class _Row:
    """A prompt and the different responses to it."""

    prompt: NDArray[np.int32]
    responses: list[NDArray[np.int32]] = field(default_factory=list)
    targets: list[range] = field(default_factory=list)
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
        shared: responses share the row of their prompt; else each has a row with the prompt again.
    """
    rows: dict[bytes, _Row] = {}
    known: dict[tuple[bytes, bytes], range] = {}
    num_targets = 0
    found: list[range] = []
    for side in (CHOSEN, REJECTED):
        for pair in chosen:
            prompt, response = pairs.prompts[pair], pairs.response(int(pair), side)
            key = (prompt.tobytes(), response.tobytes())
            if key not in known:
                known[key] = range(num_targets, num_targets + len(response))
                num_targets += len(response)
                name = key[0] if shared else b"%d" % num_targets
                row = rows.setdefault(name, _Row(prompt))
                row.responses.append(response)
                row.targets.append(known[key])
            found.append(known[key])
    places = np.full((len(found), max(map(len, found))), num_targets, np.int64)
    for place, targets in zip(places, found, strict=True):
        place[: len(targets)] = targets
    return _to_tensors(list(rows.values()), places, num_targets, pairs.end_token)


def _to_tensors(
    rows: Sequence[_Row], places: NDArray[np.int64], num_targets: int, end_token: int
) -> PackedResponses:
    shape = (len(rows), max(row.length for row in rows))
    tokens, branches = np.full(shape, end_token, np.int64), np.full(shape, -1, np.int64)
    positions = np.zeros(shape, np.int64)
    targets, target_rows, target_columns = np.zeros((3, num_targets), np.int64)
    for r, row in enumerate(rows):
        depth = end = len(row.prompt)
        tokens[r, :depth], positions[r, :depth] = row.prompt, np.arange(depth)
        branches[r, :depth] = 0
        for branch, (response, place) in enumerate(zip(row.responses, row.targets, strict=True), 1):
            span = slice(end, end + len(response))
            tokens[r, span], branches[r, span] = response, branch
            positions[r, span] = depth + np.arange(len(response))
            targets[place], target_rows[place] = response, r
            target_columns[place] = np.arange(span.start - 1, span.stop - 1)
            target_columns[place.start] = depth - 1
            end = span.stop
    arrays = (tokens, positions, branches, target_rows, target_columns, targets, places)
    return PackedResponses(*(torch.from_numpy(array) for array in arrays))


def plan_steps(
    pairs: TokenPairs, batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The pairs of each gradient step of one pass, a function of (seed, epoch).

    Pairs of one prompt stand together where they fit, prompts with rows of similar length next to
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
