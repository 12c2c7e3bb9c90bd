"""The verdict of the embedded judge, and its folder.

Who owns what: `reply_fit`, `ranker*` and `topics` the fit to the context, `surprise` the order of
words, `reply_measures` and `courtesy` what can be counted, `diversity` what only a set of replies
shows, `human_calibration` the probabilities, `embedded_judge` the building. This module joins the
signals to a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from parley.platform.maxims.interface import JUDGE_FILE, Detector
from parley.platform.maxims.judge.courtesy import count_discourtesy
from parley.platform.maxims.judge.diversity import MIN_ROWS, measure_repetition
from parley.platform.maxims.judge.human_calibration import SIGNALS, THRESHOLD, Calibration
from parley.platform.maxims.judge.ranker import NUM_LAGS, Ranker
from parley.platform.maxims.judge.ranker_encoders import MiniLMEncoder, TurnEncoder, WordEncoder
from parley.platform.maxims.judge.reply_fit import FitParts, Joining, find_clues
from parley.platform.maxims.judge.reply_measures import Surface, measure_surface
from parley.platform.maxims.judge.topics import Topics
from parley.platform.maxims.judge.word_order import TrigramOrder
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import split_turns
from parley.platform.runs.files import to_json
from parley.platform.terminal.activities import activity

WEIGHTS_FILE = "judge.safetensors"
_RELATION = MAXIMS.index("relation")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JudgeParts:
    """Everything that was learned."""

    fit: FitParts
    joining: Joining
    order: TrigramOrder


class FittedJudge(Detector):
    """Calls a reply cooperative if nothing about it is unusual among human replies in place.

    Args:
        parts: what was learned.
        calibration: human replies that nothing was learned from.
        usual_share: of contexts that people give one reply to, see `diversity`.
        facts: recipe and figures of the building, as they stand in `judge.json`.
    """

    least_contexts = MIN_ROWS

    def __init__(
        self,
        parts: JudgeParts,
        calibration: Calibration,
        usual_share: float,
        facts: Mapping[str, Any],
    ) -> None:
        self.parts = parts
        self.calibration = calibration
        self.usual_share = usual_share
        self.facts = dict(facts)
        self.thresholds = np.full(len(MAXIMS), THRESHOLD)

    def score_rows(self, rows: Sequence[Exchange]) -> Floats:
        """See `Detector`. In a set, a reply that many contexts get violates relation."""
        with activity(f"judging {len(rows):,} replies"):
            return self.add_repetition(rows, self.score_alone(rows))

    def score_alone(self, rows: Sequence[Exchange]) -> Floats:
        """The four probabilities of each row as if there were no other, float64 [N, 4]."""
        found = np.zeros((len(rows), len(MAXIMS)))
        for name, values in self.explain_rows(rows).items():
            maxim = MAXIMS.index(SIGNALS[name].maxim)
            found[:, maxim] = np.maximum(found[:, maxim], values)
        return found

    def add_repetition(self, rows: Sequence[Exchange], alone: Floats) -> Floats:
        """`alone` with what only the whole set of rows shows, float64 [N, 4]."""
        found = alone.copy()
        found[:, _RELATION] = np.maximum(
            found[:, _RELATION], measure_repetition(rows, self.usual_share)
        )
        return found

    def explain_rows(self, rows: Sequence[Exchange]) -> dict[str, Floats]:
        """The probabilities by signal, float64 [N] each, without what the whole set shows."""
        if not rows:
            return {}
        measured = measure_signals(self.parts, rows)
        return {n: self.calibration.to_probabilities(n, v) for n, v in measured.items()}


def measure_signals(parts: JudgeParts, rows: Sequence[Exchange]) -> dict[str, Floats]:
    """The raw measures by signal, float64 [N] each; NaN where a signal says nothing."""
    replies = [normalise_space(row.response) for row in rows]
    contexts = [read_context(row) for row in rows]
    clues = find_clues(parts.fit, contexts, replies)
    measured = {"misfit": -parts.joining.score(clues)}
    return measured | measure_form(parts.order, rows)


def measure_form(order: TrigramOrder, rows: Sequence[Exchange]) -> dict[str, Floats]:
    """All raw measures but the misfit, float64 [N] each."""
    replies = [normalise_space(row.response) for row in rows]
    surfaces = [
        measure_surface(read_context(row), row.evidence, reply)
        for row, reply in zip(rows, replies, strict=True)
    ]
    surprise = order.measure(replies)
    columns = {name: [getattr(s, name) for s in surfaces] for name in Surface._fields}
    return {name: np.array(values) for name, values in columns.items()} | {
        "discourtesy": np.array([count_discourtesy(reply) for reply in replies]),
        "disorder": -surprise.order_gain,
        "broken_end": surprise.ending,
    }


def read_context(row: Exchange) -> list[str]:
    """The turns that the judge reads, oldest first."""
    return split_turns(row.context)[-NUM_LAGS:]


def save_judge(judge: FittedJudge, folder: Path) -> None:
    """Write the judge into a folder: safetensors and JSON, no pickles."""
    parts, fit = judge.parts, judge.parts.fit
    arrays: dict[str, NDArray[Any]] = {
        f"human.{name}": values for name, values in judge.calibration.human.items()
    }
    for number, ranker in enumerate(fit.rankers):
        for key, value in ranker.state_dict().items():
            arrays[f"ranker.{number}.{key}"] = value.numpy()
    arrays |= {
        "order.tokens": parts.order.tokens,
        "order.offsets": parts.order.offsets,
        "topics.rarity": fit.topics.rarity,
        "topics.directions": fit.topics.directions,
        "joining.centres": parts.joining.centres,
        "joining.weights": parts.joining.weights,
    }
    first = fit.rankers[0]
    facts = {
        **judge.facts,
        "usual_share": judge.usual_share,
        "encoder": fit.encoder.name,
        "num_rankers": len(fit.rankers),
        "ranker": {
            "width": first.reply_map.in_features,
            "token_width": first.token_map.out_features,
        },
        "joining_offset": parts.joining.offset,
        "order_vocabulary": parts.order.vocabulary,
        "topics_vocabulary": fit.topics.vocabulary,
    }
    if isinstance(fit.encoder, WordEncoder):
        arrays["words.vectors"] = fit.encoder.vectors
        facts["words"] = fit.encoder.vocabulary
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    save_file(contiguous, folder / WEIGHTS_FILE)
    (folder / JUDGE_FILE).write_text(to_json(facts, indent=1) + "\n", encoding="utf-8")


def load_judge(folder: Path) -> FittedJudge:
    """The judge of a folder that `save_judge` wrote."""
    facts = json.loads((folder / JUDGE_FILE).read_text(encoding="utf-8"))
    arrays = load_file(folder / WEIGHTS_FILE)
    encoder: TurnEncoder
    if facts["encoder"] == MiniLMEncoder.name:
        encoder = MiniLMEncoder()
    else:
        encoder = WordEncoder(facts["words"], arrays["words.vectors"])
    rankers = [_load_ranker(facts, arrays, number) for number in range(facts["num_rankers"])]
    topics = Topics(
        facts["topics_vocabulary"], arrays["topics.rarity"], arrays["topics.directions"]
    )
    joining = Joining(arrays["joining.centres"], arrays["joining.weights"], facts["joining_offset"])
    order = TrigramOrder(facts["order_vocabulary"], arrays["order.tokens"], arrays["order.offsets"])
    parts = JudgeParts(FitParts(encoder, rankers, topics), joining, order)
    return FittedJudge(parts, Calibration(_strip(arrays, "human.")), facts["usual_share"], facts)


def _load_ranker(
    facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], number: int
) -> Ranker:
    ranker = Ranker(**facts["ranker"])
    weights = _strip(arrays, f"ranker.{number}.")
    ranker.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return ranker.eval()


def _strip(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
