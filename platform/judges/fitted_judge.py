"""The verdict of the embedded judge, and its folder.

Who owns what: `ranker*` the fit to the context, `surprise` the order of words, `reply_measures` and
`courtesy` what can be counted, `diversity` what only a set of replies shows, `human_calibration`
the probabilities, `embedded_judge` the building. This module joins the signals to a verdict.
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

from parley.platform.judges.courtesy import count_discourtesy
from parley.platform.judges.detector import Detector
from parley.platform.judges.diversity import measure_repetition
from parley.platform.judges.human_calibration import SIGNALS, THRESHOLD, Calibration
from parley.platform.judges.ranker import NUM_LAGS, Ranker
from parley.platform.judges.ranker_encoders import (
    MiniLMEncoder,
    TokenStates,
    TurnEncoder,
    WordEncoder,
)
from parley.platform.judges.reply_measures import Surface, measure_surface
from parley.platform.judges.surprise import WordOrder
from parley.platform.preferences.exchange import MAXIMS, Exchange
from parley.platform.preferences.wording import split_turns, squeeze
from parley.platform.telemetry.files import to_json

JUDGE_FILE = "judge.json"
WEIGHTS_FILE = "judge.safetensors"
PAIRS_AT_ONCE = 256
_RELATION = MAXIMS.index("relation")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JudgeParts:
    """Everything that was learned."""

    encoder: TurnEncoder
    rankers: Sequence[Ranker]
    order: WordOrder


class FittedJudge(Detector):
    """Calls a reply cooperative if nothing about it is unusual among human replies in place.

    Args:
        parts: what was learned.
        calibration: human replies that nothing was learned from.
        usual_share: of contexts that people give one reply to, see `diversity`.
        facts: recipe and figures of the building, as they stand in `judge.json`.
    """

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
    replies = [squeeze(row.response) for row in rows]
    contexts = [split_turns(row.context)[-NUM_LAGS:] for row in rows]
    surfaces = [
        measure_surface(turns, row.evidence, reply)
        for turns, row, reply in zip(contexts, rows, replies, strict=True)
    ]
    measured = {
        name: np.array([getattr(surface, name) for surface in surfaces]) for name in Surface._fields
    }
    surprise = parts.order.measure(replies)
    return measured | {
        "misfit": -score_fit(parts, contexts, replies),
        "discourtesy": np.array([count_discourtesy(reply) for reply in replies]),
        "disorder": -surprise.order_gain,
        "broken_end": surprise.ending,
    }


def score_fit(
    parts: JudgeParts, contexts: Sequence[Sequence[str]], replies: Sequence[str]
) -> Floats:
    """The rankers' mean score of each reply in its context, float64 [N]; NaN without a context.

    Every distinct turn is encoded once, however many replies or contexts it stands in.
    """
    turns = list(dict.fromkeys([*(t for turns in contexts for t in turns), *replies]))
    places = {turn: place for place, turn in enumerate(turns)}
    states = parts.encoder.encode(turns)
    scores = np.full(len(replies), np.nan)
    answering = [row for row, shown in enumerate(contexts) if shown]
    answering.sort(key=lambda row: len(replies[row]))
    for start in range(0, len(answering), PAIRS_AT_ONCE):
        chunk = answering[start : start + PAIRS_AT_ONCE]
        shown = [[places[turn] for turn in reversed(contexts[row])] for row in chunk]
        said = [places[replies[row]] for row in chunk]
        scores[chunk] = _score_chunk(parts.rankers, states, shown, said)
    return scores


@torch.inference_mode()
def _score_chunk(
    rankers: Sequence[Ranker], states: TokenStates, shown: list[list[int]], said: list[int]
) -> Floats:
    """Scores [P] of replies; `shown` has the turns before each, the last one first."""
    used = sorted({turn for turns in shown for turn in turns} | set(said))
    place = {turn: number for number, turn in enumerate(used)}
    lags = torch.zeros(len(said), NUM_LAGS, dtype=torch.long)
    present = torch.zeros(len(said), NUM_LAGS)
    for row, turns in enumerate(shown):
        lags[row, : len(turns)] = torch.tensor([place[turn] for turn in turns])
        present[row, : len(turns)] = 1
    replies = torch.tensor([place[turn] for turn in said])
    own = torch.arange(len(said))
    padded, mask = states.pad(used)
    total = np.zeros(len(said))
    for ranker in rankers:
        read = ranker.read(padded, mask)
        scores = ranker(read, lags, present, read[replies], (own, own))
        total += scores.double().numpy()
    return total / len(rankers)


def save_judge(judge: FittedJudge, folder: Path) -> None:
    """Write the judge into a folder: safetensors and JSON, no pickles."""
    parts = judge.parts
    arrays: dict[str, NDArray[Any]] = {
        f"human.{name}": values for name, values in judge.calibration.human.items()
    }
    for number, ranker in enumerate(parts.rankers):
        for key, value in ranker.state_dict().items():
            arrays[f"ranker.{number}.{key}"] = value.numpy()
    arrays |= {"order.tokens": parts.order.tokens, "order.offsets": parts.order.offsets}
    first = parts.rankers[0]
    facts = {
        **judge.facts,
        "usual_share": judge.usual_share,
        "encoder": parts.encoder.name,
        "num_rankers": len(parts.rankers),
        "ranker": {
            "width": first.reply_map.in_features,
            "token_width": first.token_map.out_features,
        },
        "order_vocabulary": parts.order.vocabulary,
    }
    if isinstance(parts.encoder, WordEncoder):
        arrays["words.vectors"] = parts.encoder.vectors
        facts["words"] = parts.encoder.vocabulary
    save_file(
        {key: np.ascontiguousarray(value) for key, value in arrays.items()}, folder / WEIGHTS_FILE
    )
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
    rankers = []
    for number in range(facts["num_rankers"]):
        ranker = Ranker(**facts["ranker"])
        weights = _strip(arrays, f"ranker.{number}.")
        ranker.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        rankers.append(ranker.eval())
    order = WordOrder(facts["order_vocabulary"], arrays["order.tokens"], arrays["order.offsets"])
    human = Calibration(_strip(arrays, "human."))
    parts = JudgeParts(encoder, rankers, order)
    return FittedJudge(parts, human, facts["usual_share"], facts)


def _strip(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
