"""What a report shows of dialogues: the first next to the last, and the phrases that rose.

Every token is shaded by its negative log-likelihood; pointing at it shows the figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.viewing.watch import choose_iterations
from parley.platform.report.curves import finite
from parley.platform.report.page import render_section
from parley.platform.report.sections import Rows, Sections, final_figures, short_model
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import (
    OPENER,
    TRANSCRIPTS_FILE,
    Transcript,
    TranscriptTurn,
    figures_of,
    printable,
    read_transcripts,
    seat_letters,
)

NUM_PAIRS = 3
"""Dialogues of the first and of the last iteration that stand side by side."""
NUM_BETWEEN = 8
"""Further iterations of which a dialogue is shown on request."""
NUM_PHRASES = 12
SHADE_QUANTILE = 0.98
"""Nats of this quantile of all shown tokens get the darkest shade, and so does what lies above."""
LEAST_DARKEST_NATS = 4.0


@dataclass(frozen=True)
class RisenPhrase:
    """A phrase that rose beyond chance, over the whole run."""

    ngram: str
    rose_at: int
    """First iteration in which it had risen."""
    peak_share: float
    """Its largest share of the replies."""
    peak_rise: float
    peak_iteration: int
    last_share: float | None
    """In the last iteration; None where it was no longer among the attractors."""


def report_sections(run: RunFolder, rows: Rows, result: Mapping[str, Any]) -> Sections:
    """What the report of self-play shows, and of pretraining; see `report.sections`."""
    transcripts = read_transcripts(run.path / TRANSCRIPTS_FILE)
    dialogues, phrases = [], []
    if transcripts:
        dialogues = [render_section("First and last dialogues", render_dialogues(transcripts))]
    if any("attractors" in row for row in rows):
        phrases = [render_section("Attractors", render_phrases(summarise_phrases(rows)))]
    return Sections(
        final_figures(result),
        facts=_seat_facts(run, result),
        before_curves=dialogues,
        after_curves=phrases,
    )


def _seat_facts(run: RunFolder, result: Mapping[str, Any]) -> dict[str, str]:
    """Who sits where and whether it learns; empty for a run without seats."""
    if not isinstance(run.config, DialogueDistortConfig):
        return {}
    found, facts = result.get("models") or {}, {}
    for name, seat in run.config.seats.items():
        model = short_model(str(found.get(name, seat.model)))
        facts[name] = f"{model}, {'learns' if seat.trained else 'frozen'}"
    return facts


def render_dialogues(transcripts: Sequence[Transcript]) -> str:
    """The dialogues of the first and the last iteration side by side, and some between."""
    pairs = pair_dialogues(transcripts)
    ends = {id(transcript) for pair in pairs for transcript in pair}
    between = [
        next(item for item in transcripts if item.iteration == iteration)
        for iteration in choose_iterations(transcripts, NUM_BETWEEN + 2)[1:-1]
    ]
    shown = [transcript for pair in pairs for transcript in pair] + between
    darkest = darkest_nats(shown)
    learns = any(turn.rewards for transcript in shown for turn in transcript.turns)
    blocks = [_render_scale(darkest, learns)]
    for pair in pairs:
        cards = "".join(_render_dialogue(transcript, darkest) for transcript in pair)
        blocks.append(f'<div class="pair">{cards}</div>')
    if more := [item for item in between if id(item) not in ends]:
        cards = "".join(_render_dialogue(transcript, darkest) for transcript in more)
        blocks.append(
            f"<details><summary>Show {len(more)} dialogues from between</summary>"
            f'<div class="pair">{cards}</div></details>'
        )
    return "\n".join(blocks)


def pair_dialogues(
    transcripts: Sequence[Transcript], num: int = NUM_PAIRS
) -> list[tuple[Transcript, ...]]:
    """Dialogues of the first iteration, each with one of the last; the same opener if there is one.

    Where there is one iteration only, its dialogues stand alone.
    """
    iterations = choose_iterations(transcripts, 2)
    first = [item for item in transcripts if item.iteration == iterations[0]]
    if len(iterations) == 1:
        return [(item,) for item in first[:num]]
    last = [item for item in transcripts if item.iteration == iterations[1]]
    pairs: list[tuple[Transcript, ...]] = []
    for item in sorted(first, key=lambda item: not any(_same_opener(item, o) for o in last))[:num]:
        if last:
            partner = next((other for other in last if _same_opener(item, other)), last[0])
            last.remove(partner)
            pairs.append((item, partner))
    return pairs


def darkest_nats(transcripts: Sequence[Transcript]) -> float:
    """The NLL from which on a token is shaded as dark as can be, a whole number of nats."""
    values = [
        nll
        for transcript in transcripts
        for turn in transcript.turns
        for nll in turn.nll or ()
        if math.isfinite(nll)
    ]
    if not values:
        return LEAST_DARKEST_NATS
    return max(LEAST_DARKEST_NATS, float(math.ceil(np.quantile(values, SHADE_QUANTILE))))


def summarise_phrases(rows: Sequence[Mapping[str, Any]]) -> list[RisenPhrase]:
    """The phrases that rose most, of those with a `rose_at` among the attractors of any row."""
    seen: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    iterations = [int(row["iteration"]) for row in rows]
    for iteration, row in zip(iterations, rows, strict=True):
        for item in row.get("attractors") or ():
            seen.setdefault(str(item["ngram"]), []).append((iteration, item))
    risen = [
        _summarise(ngram, items, iterations[-1])
        for ngram, items in seen.items()
        if any(item.get("rose_at") is not None for _, item in items)
    ]
    return sorted(risen, key=lambda phrase: (-phrase.peak_rise, phrase.ngram))[:NUM_PHRASES]


def render_phrases(phrases: Sequence[RisenPhrase]) -> str:
    """The table of phrases."""
    if not phrases:
        return '<p class="soft">No phrase rose beyond chance over the first iterations.</p>'
    head = (
        '<tr><th>phrase</th><th class="number">rose at iteration</th><th>largest share of the '
        'replies</th><th></th><th class="number">rise</th><th class="number">at iteration</th>'
        '<th class="number">at the end</th></tr>'
    )
    return (
        f'<div class="card scroll"><table>{head}{"".join(map(_phrase_row, phrases))}</table></div>'
        '<p class="soft">Share: of the replies that hold the phrase. Rise: over its share in the '
        "first iterations. A dash at the end: no longer among the iteration's ten.</p>"
    )


def _same_opener(first: Transcript, second: Transcript) -> bool:
    return first.turns[0].token_ids == second.turns[0].token_ids


def _summarise(
    ngram: str, items: Sequence[tuple[int, Mapping[str, Any]]], last_iteration: int
) -> RisenPhrase:
    def rise(item: tuple[int, Mapping[str, Any]]) -> float:
        return finite(item[1].get("rise")) or 0.0

    iteration, peak = max(items, key=rise)
    rose_at = [int(item["rose_at"]) for _, item in items if item.get("rose_at") is not None]
    newest, last = items[-1]
    return RisenPhrase(
        ngram=ngram,
        rose_at=min(rose_at),
        peak_share=finite(peak.get("share")) or 0.0,
        peak_rise=rise((iteration, peak)),
        peak_iteration=iteration,
        last_share=finite(last.get("share")) if newest == last_iteration else None,
    )


def _phrase_row(phrase: RisenPhrase) -> str:
    dash = "\N{EM DASH}"
    last = dash if phrase.last_share is None else f"{phrase.last_share:.1%}"
    return (
        f"<tr><td>{escape(printable(phrase.ngram))}</td>"
        f'<td class="number">{phrase.rose_at:,}</td>'
        f'<td><span class="meter" style="--share:{phrase.peak_share:.1%}"></span></td>'
        f'<td class="number">{phrase.peak_share:.1%}</td>'
        f'<td class="number">{phrase.peak_rise:+.1%}</td>'
        f'<td class="number">{phrase.peak_iteration:,}</td><td class="number">{last}</td></tr>'
    )


def _render_scale(darkest: float, learns: bool) -> str:
    marks = " Filled circles mark the seat that learns." if learns else ""
    return (
        '<div class="scale"><span>NLL of a token: 0</span><span class="bar"></span>'
        f"<span>{darkest:g} nats and more</span>"
        f"<span>Point at a token for its figure.{marks}</span></div>"
    )


def _render_dialogue(transcript: Transcript, darkest: float) -> str:
    letters = seat_letters(turn.seat for turn in transcript.turns if turn.seat != OPENER)
    turns = "".join(_render_turn(turn, letters, darkest) for turn in transcript.turns)
    end = "terminated" if transcript.terminated else "truncated" if transcript.truncated else ""
    head = (
        f"<b>iteration {transcript.iteration:,}</b>"
        f"<span>dialogue {transcript.number:,} with {escape(transcript.opponent)}, {end}</span>"
    )
    return f'<article class="card dialogue"><div class="head">{head}</div>{turns}</article>'


def _render_turn(turn: TranscriptTurn, letters: Mapping[str, str], darkest: float) -> str:
    if turn.seat == OPENER:
        kind, letter = "opener", "\N{BULLET}"
    else:
        kind, letter = ("trained" if turn.rewards else "frozen"), letters[turn.seat][:2]
    figures = figures_of(turn)
    below = f'<div class="figures">{escape(figures)}</div>' if figures else ""
    return (
        f'<div class="turn {kind}"><div class="who" title="{escape(turn.seat)}">{escape(letter)}'
        f'</div><div><div class="said">{_render_tokens(turn, darkest)}</div>{below}</div></div>'
    )


def _render_tokens(turn: TranscriptTurn, darkest: float) -> str:
    if not turn.token_ids:
        return '<i class="soft">says nothing</i>'
    if turn.nll is None:
        return escape(printable(turn.text))
    return "".join(
        f'<span style="--n:{_shade(nll, darkest):.2f}" title="{nll:.2f} nats">'
        f"{escape(printable(piece))}</span>"
        for piece, nll in zip(turn.pieces, turn.nll, strict=True)
        if piece
    )


def _shade(nll: float, darkest: float) -> float:
    """0 to 1; a figure that is not finite is the darkest."""
    return min(1.0, max(0.0, nll / darkest)) if math.isfinite(nll) else 1.0
