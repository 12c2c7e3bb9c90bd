"""Which replies the embedded judge calls cooperative: human ones in place, and attacks on it.

    python -m benchmarks.judge_attacks [--quick] [--json FILE] [--labelled FILE ...]

Conversations that the judge has never seen are gone through reply by reply; each attack puts its
own reply in the place of the human one. Two figures stand side by side: rows judged one by
one, and the set of all replies of one attack judged at once, where stock replies show. Intervals
are bootstrapped over conversations. PARLEY_DATA names the folder of `topical_chat`; without it,
judge and attacks are tried on generated small talk. Files of labelled or repaired responses are
judged, too, the human response of each row and the violated ones by type.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.envs.dialogue.conversations import Conversation
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.maxims.judge.attacks import ATTACKS, Scene, list_scenes
from parley.platform.maxims.judge.building import (
    JudgeRecipe,
    embedded_judge,
    find_conversations,
    split_for_judge,
)
from parley.platform.maxims.judge.judge import FittedJudge
from parley.platform.maxims.pairs.labelled import LabelledRow, read_labelled
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.runs.files import atomic_write_text, to_json

HUMAN = "human reply in place"
HUMAN_LEAST = 0.9
"""Share of human replies in place that a good judge calls cooperative at least."""
SPLIT_SETTINGS = ("num_generated", "corpus_seed", "holdout", "selection")
"""What of a recipe says which conversations are held out."""
QUICK_CONVERSATIONS = 12
NUM_RESAMPLES = 1_000


@dataclass(frozen=True)
class Row:
    """The verdict on one kind of reply."""

    name: str
    limit: float | None
    """Largest share wanted, or the least one for human replies; None: reported only."""
    num_replies: int
    single: float
    """Share called cooperative, each reply judged alone."""
    together: float
    """The same, all replies judged as one set."""
    interval: tuple[float, float]
    """Of `together`, 95 %."""
    flagged_by_maxim: tuple[float, ...]
    """Shares of all replies, by the order of `MAXIMS`; judged together."""

    @property
    def passes(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.together >= self.limit if self.name == HUMAN else self.together <= self.limit


def measure_attacks(
    judge: FittedJudge, conversations: Sequence[Conversation], seed: int = 0
) -> list[Row]:
    """One row for human replies and one for every attack."""
    scenes = list(list_scenes(conversations, Random(seed)))
    owners = np.repeat(
        np.arange(len(conversations)), [len(talk.messages) - 1 for talk in conversations]
    )
    rows = [_judge(judge, HUMAN, HUMAN_LEAST, [s.exchange for s in scenes], owners)]
    for name, attack in ATTACKS.items():
        rng = Random(f"{name} {seed}")
        replies = [attack.function(scene, rng) for scene in scenes]
        kept = [place for place, reply in enumerate(replies) if reply is not None]
        exchanges = [_replace(scenes[place], replies[place]) for place in kept]
        rows.append(_judge(judge, name, attack.limit, exchanges, owners[kept]))
    return rows


def measure_labelled(judge: FittedJudge, path: Path) -> list[Row]:
    """One row for the human responses of a file, and one for each type of violation."""
    found = read_labelled(path).rows
    owners = np.array([name_owner(row) for row in found])
    human = [place for place, row in enumerate(found) if row.human]
    replies = [found[place].exchange._replace(response=found[place].human) for place in human]
    rows = [_judge(judge, HUMAN, HUMAN_LEAST, replies, owners[human])] if human else []
    for kind in sorted({row.violation_type for row in found}):
        places = [place for place, row in enumerate(found) if row.violation_type == kind]
        exchanges = [found[place].exchange for place in places]
        rows.append(_judge(judge, kind or "unlabelled", None, exchanges, owners[places]))
    return rows


def time_judge(judge: FittedJudge, conversations: Sequence[Conversation]) -> float:
    """Milliseconds of processor time a row, on one core, all human replies in one batch."""
    rows = [scene.exchange for scene in list_scenes(conversations, Random(0))]
    with limit_threads(1):
        started = time.process_time()
        judge.score_rows(rows)
        return 1_000 * (time.process_time() - started) / len(rows)


def show_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = f"| reply | wanted | alone | in a set | 95 % | {' | '.join(MAXIMS)} | n |"
    lines = [head, "|" + " --- |" * (6 + len(MAXIMS))]
    for row in rows:
        sign = "≥" if row.name == HUMAN else "≤"
        wanted = "" if row.limit is None else f"{sign} {row.limit:.0%}"
        low, high = row.interval
        shares = " | ".join(f"{share:.1%}" for share in row.flagged_by_maxim)
        verdict = "" if row.passes is not False else " (missed)"
        lines.append(
            f"| {row.name} | {wanted}{verdict} | {row.single:.1%} | {row.together:.1%} "
            f"| {low:.1%} to {high:.1%} | {shares} | {row.num_replies} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, recipe: JudgeRecipe | None = None) -> None:
    """Run the benchmark and print the table, for another judge where a recipe is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a dozen conversations only")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument(
        "--labelled", type=Path, nargs="*", default=[], help="further rows to judge"
    )
    chosen = parser.parse_args(arguments)
    judge = embedded_judge(print, recipe)
    heldout = find_heldout(judge)
    if chosen.quick:
        heldout = heldout[:QUICK_CONVERSATIONS]
    rows = measure_attacks(judge, heldout)
    print(show_table(rows))
    milliseconds = time_judge(judge, heldout)
    print(f"{milliseconds:.1f} ms of processor time a row, all human replies in one batch")
    tables = {str(path): measure_labelled(judge, path) for path in chosen.labelled}
    for name, labelled in tables.items():
        print(f"\n{name}\n\n{show_table(labelled)}")
    if chosen.json:
        table = [{**vars(row), "passes": row.passes} for row in rows]
        facts = {"rows": table, "milliseconds_per_row": milliseconds}
        facts["recipe"] = judge.facts["recipe"]
        facts["labelled"] = {name: [vars(row) for row in rows] for name, rows in tables.items()}
        atomic_write_text(chosen.json, to_json(facts, indent=2) + "\n")


def find_heldout(judge: FittedJudge) -> list[Conversation]:
    """The conversations that this judge has neither learned from nor been calibrated on."""
    recipe = judge.facts["recipe"]
    split = JudgeRecipe(**{k: recipe[k] for k in SPLIT_SETTINGS})
    conversations, _ = find_conversations(split)
    heldout = split_for_judge(split, conversations).heldout
    known: Mapping[str, object] = dict.fromkeys(judge.facts["heldout_conversations"])
    if not all(talk.id in known for talk in heldout):
        raise ValueError("the judge was built from other conversations than those at hand")
    return heldout


def name_owner(row: LabelledRow) -> str:
    """Whose conversation a row is: its id, or its context where there is none."""
    return row.conversation or row.exchange.context


def _replace(scene: Scene, reply: str | None) -> Exchange:
    return scene.exchange._replace(response=reply or "")


def _judge(
    judge: FittedJudge,
    name: str,
    limit: float | None,
    rows: Sequence[Exchange],
    owners: NDArray[Any],
) -> Row:
    alone = judge.score_alone(rows)
    flags = judge.add_repetition(rows, alone) >= judge.thresholds
    passed = np.asarray(~flags.any(1), np.bool_)
    return Row(
        name=name,
        limit=limit,
        num_replies=len(rows),
        single=float((alone < judge.thresholds).all(1).mean()),
        together=float(passed.mean()),
        interval=_resample(passed, owners),
        flagged_by_maxim=tuple(float(share) for share in flags.mean(0)),
    )


def _resample(
    passed: NDArray[np.bool_], owners: NDArray[Any], seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the share, by drawing conversations with replacement."""
    names, places = np.unique(owners, return_inverse=True)
    sums = np.bincount(places, passed, len(names))
    counts = np.bincount(places, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(NUM_RESAMPLES, len(names)))
    shares = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
