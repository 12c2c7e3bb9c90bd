"""Which pairs stand together, and how they lie in the tensors that a model reads.

A prompt is read once for all responses to it, and a response once for all pairs that hold it. A row
of a batch is a prompt and the responses to it, branches that do not see each other:

    tokens     p p p p | c c c | r r r r | pad
    positions  0 1 2 3 | 4 5 6 | 4 5 6 7 | 0
    branches   0 0 0 0 | 1 1 1 | 2 2 2 2 | 3

A position sees those before it that are of the prompt or of its own branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.platform.learners.dpo_data import CHOSEN, REJECTED, TokenPairs

LENGTH_JITTER = 0.2
"""Prompts are sorted by the length of their row times 1 to 1.2: a pass differs from the last."""
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
    """int64 [R, L]: 0 for the prompt, then one number for each response, and for the padding."""
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
        """bool [R, 1, L, L]: which positions (last axis) a position sees."""
        width = self.branches.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.branches.device).tril_()
        keys, queries = self.branches[:, None, :], self.branches[:, :, None]
        return (causal & ((keys == 0) | (keys == queries))).unsqueeze(1)

    @property
    def num_tokens(self) -> int:
        """Tokens that are no padding."""
        return int((self.branches < self.branches.amax(1, keepdim=True)).sum())

    def to(self, device: torch.device) -> PackedResponses:
        """The same on `device`."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return PackedResponses(**moved)


@dataclass
class _Branch:
    """A response on its row."""

    first: int
    """Where its tokens lie among the T."""
    length: int


def pack_pairs(
    pairs: TokenPairs, chosen: Sequence[int] | NDArray[np.int64], shared: bool = True
) -> PackedResponses:
    """The rows of the pairs at the indices `chosen`, int64 [B].

    Args:
        pairs: all pairs.
        chosen: which of them; in this order they stand in `places`.
        shared: several responses on a prompt's row; else each has a row with the prompt again.
    """
    rows: list[list[NDArray[np.int32]]] = []
    row_of: dict[bytes, int] = {}
    known: dict[tuple[int, bytes], _Branch] = {}
    targets: list[NDArray[np.int32]] = []
    sources: list[tuple[int, int, int]] = []  # row, column before the first token, prompt's end
    num_targets = 0
    branches: list[_Branch] = []
    for side in (CHOSEN, REJECTED):
        for pair in chosen:
            prompt, response = pairs.prompts[pair], pairs.response(int(pair), side)
            group = int(pairs.prompt_groups[pair])
            key = (group, response.tobytes())
            if key not in known:
                known[key] = _Branch(num_targets, len(response))
                name = prompt.tobytes() if shared else b"%d" % len(known)
                row = row_of.setdefault(name, len(rows))
                if row == len(rows):
                    rows.append([prompt])
                sources.append((row, sum(map(len, rows[row])), len(prompt)))
                rows[row].append(response)
                targets.append(response)
                num_targets += len(response)
            branches.append(known[key])
    return _to_tensors(pairs.end_token, rows, sources, targets, branches)


def _to_tensors(
    end_token: int,
    rows: Sequence[Sequence[NDArray[np.int32]]],
    sources: Sequence[tuple[int, int, int]],
    targets: Sequence[NDArray[np.int32]],
    branches: Sequence[_Branch],
) -> PackedResponses:
    shape = (len(rows), max(sum(map(len, row)) for row in rows))
    tokens = np.full(shape, end_token, np.int64)
    positions, numbers = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for r, (prompt, *responses) in enumerate(rows):
        end = len(prompt)
        tokens[r, :end], positions[r, :end] = prompt, np.arange(end)
        for number, response in enumerate(responses, 1):
            span = slice(end, end + len(response))
            tokens[r, span], numbers[r, span] = response, number
            positions[r, span] = len(prompt) + np.arange(len(response))
            end += len(response)
        numbers[r, end:] = len(responses) + 1
    lengths = [len(target) for target in targets]
    before = [
        np.concatenate([[prompt_end - 1], np.arange(column, column + length - 1)])
        for (_, column, prompt_end), length in zip(sources, lengths, strict=True)
    ]
    row_of_target = np.repeat([row for row, _, _ in sources], lengths)
    places = np.full((len(branches), max(lengths)), sum(lengths), np.int64)
    for place, branch in zip(places, branches, strict=True):
        place[: branch.length] = np.arange(branch.first, branch.first + branch.length)
    arrays = (
        tokens,
        positions,
        numbers,
        row_of_target.astype(np.int64),
        np.concatenate(before).astype(np.int64),
        np.concatenate(targets).astype(np.int64),
        places,
    )
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
