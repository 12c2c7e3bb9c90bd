"""How often a detector flags what people said: the first figure to look at before its findings.

A file of responses holds such talk as a rule: human responses next to the judged, rows that are
labelled free of violations, or else the turns that were said before. A detector that flags clearly
more of it than it was calibrated to does not know this kind of talk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parley.platform.maxims.data_folder import DATA_VARIABLE
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.pairs.labelled import LabelledRow
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.wording import SPEAKER, likeness

NO_VERDICT = "no_verdict"
"""The figure that says why the findings decide nothing; null where they do."""
BESIDE, EARLIER = "responses of people", "turns before the responses"
"""What is taken for free of violations."""


class Clean(NamedTuple):
    """Something that a person said, as far as the file shows."""

    exchange: Exchange
    conversation: str
    """A name for it; every row that gives none is a conversation of its own."""


def find_clean(rows: Sequence[LabelledRow]) -> tuple[list[Clean], str]:
    """What rows hold of people's responses, each once, and in words what that is.

    Human responses next to the rows and rows labelled clean; where there are none, the turns that
    were said before the responses.
    """
    kinds = ((_beside, BESIDE), (_earlier, EARLIER))
    for read, name in kinds:
        found: dict[tuple[str, str], Clean] = {}
        for row in rows:
            conversation = row.conversation or f"\x00{row.place}"
            for exchange in read(row):
                key = likeness(exchange.context), likeness(exchange.response)
                found.setdefault(key, Clean(exchange, conversation))
        if found:
            return list(found.values()), name
    return [], ""


def describe_unfitness(
    detector: Detector, rate: float, interval: Sequence[float], source: str
) -> str:
    """Why a detector's findings decide nothing, and the remedy; empty where they do.

    Args:
        detector: says how much it is calibrated to flag.
        rate, interval: share of what people said that it flags, 95 %.
        source: what that is, in words.
    """
    low, high = interval
    if low <= detector.max_flag_rate:
        return ""
    learned = f" (it learned from: {detector.learned_from})" if detector.learned_from else ""
    return (
        f"the detector flags {rate:.1%} ({low:.1%} to {high:.1%}) of the {source}, and is "
        f"calibrated to flag {detector.max_flag_rate:.0%} of them at most: it does not know this "
        f"kind of talk{learned}, and most findings may be false alarms. Train one on such talk by "
        f"parley train dialogue/detector data.labelled=FILE data.conversations=FOLDER and name it "
        f"(--detector RUN, judges.detector=RUN), or let {DATA_VARIABLE} name a folder with "
        f"gricebench/ and topical_chat/"
    )


def _beside(row: LabelledRow) -> Iterator[Exchange]:
    if row.human:
        yield row.exchange._replace(response=row.human)
    if row.labels is not None and not any(row.labels):
        yield row.exchange


def _earlier(row: LabelledRow) -> Iterator[Exchange]:
    """The last turn of the context as an answer to those before it."""
    context = row.exchange.context
    turns = list(SPEAKER.finditer(context))
    if len(turns) < 2:
        return
    last = turns[-1]
    response = context[last.end() :].strip()
    if response:
        yield Exchange(context[: last.start()].strip(), row.exchange.evidence, response)
