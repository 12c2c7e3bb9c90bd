"""Which conversations are held out: whole ones, of a wanted share of the pairs, of every maxim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from parley.platform.errors import InputError

NUM_DRAWS = 60
"""Drawn splits, of which the best is taken."""
MAX_VISITS = 2_000_000
"""Groups looked at in all draws together: with very many groups, the first draws are good."""
TOLERANCE = 0.002
"""Splits whose held-out share is equally near, to this share of the pairs, differ by maxims."""


class SplitError(InputError):
    """Pairs that cannot be split into two sides."""


def choose_heldout(groups: Sequence[Mapping[str, int]], share: float, seed: int) -> set[int]:
    """Indices of the groups to hold out; at least one is, and at least one is not.

    Of `NUM_DRAWS` random orders, each filled greedily, the one is taken that misses the fewest
    maxims on either side, then comes nearest to the share, then mirrors the mix of maxims best.

    Args:
        groups: pairs of each group by maxim; their order must not depend on the input's.
        share: of the pairs to hold out, above 0 and below 1.
        seed: of the draws.

    Raises:
        SplitError: there is only one group.
    """
    if len(groups) < 2:
        raise SplitError(
            "all pairs belong to one conversation (they share turns or responses), which cannot be "
            "split; add pairs of other conversations"
        )
    random = Random(f"split {seed}")
    total = _count(groups)
    num_draws = max(1, min(NUM_DRAWS, MAX_VISITS // len(groups)))
    sizes = [sum(group.values()) for group in groups]
    draws = [_draw(sizes, share * total.total(), random) for _ in range(num_draws)]
    return min(draws, key=lambda chosen: _rank(groups, chosen, total, share))


def _draw(sizes: Sequence[int], target: float, random: Random) -> set[int]:
    """Groups in random order, each taken if it brings the number of pairs nearer to the target."""
    order = list(range(len(sizes)))
    random.shuffle(order)
    chosen: set[int] = set()
    held = 0
    for index in order:
        nearer = abs(held + sizes[index] - target) < abs(held - target)
        if nearer and len(chosen) < len(sizes) - 1:
            chosen.add(index)
            held += sizes[index]
    # No group is small enough: the smallest is the nearest that can be held out.
    return chosen or {min(order, key=sizes.__getitem__)}


def _rank(
    groups: Sequence[Mapping[str, int]], chosen: set[int], total: Counter[str], share: float
) -> tuple[int, int, float]:
    """The smaller the better: labels missing on a side, distance to the share, to the mix."""
    held = _count([groups[index] for index in chosen])
    missing = sum((held[label] == 0) + (held[label] == total[label]) for label in total)
    distance = abs(held.total() / total.total() - share)
    mix = sum(abs(held[label] / held.total() - total[label] / total.total()) for label in total)
    return missing, int(distance / TOLERANCE), mix


def _count(groups: Sequence[Mapping[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group)
    return counts
