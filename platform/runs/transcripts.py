"""Dialogues of a run, kept to be read: `transcripts.jsonl`, one dialogue a line.

A transcript holds exact token ids next to the text, and what each token was worth to the frozen
competitor. This module writes and reads the file and lays a dialogue out as plain lines; how it is
coloured, and which dialogues are shown, is for the readers (`parley watch`, `parley report`).
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parley.platform.errors import InputError, display_path
from parley.platform.runs.files import append_text, atomic_write_text, to_json

TRANSCRIPTS_FILE = "transcripts.jsonl"
"""Name of the file in a run folder."""

OPENER = "opener"
"""Who speaks the first turn of a dialogue; every other turn bears the name of a seat."""

TOTAL_REWARD = "total"
"""The part of a reply's rewards that the policy is trained on; the others explain it."""

JUDGED_NLL = "competitor_nll"
"""The part that is the reply's mean negative log-likelihood, in nats per token."""

REPLACEMENT = "\ufffd"
"""What a decoder writes where bytes are no character yet."""

UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of control, format and unassigned characters and of line separators."""


class TranscriptError(InputError):
    """A file of transcripts that cannot be read."""


@dataclass(frozen=True)
class TranscriptTurn:
    """One utterance."""

    seat: str
    """The speaker: `opener` or a seat's name."""
    text: str
    pieces: list[str]
    """The text of each token; they join to `text`."""
    token_ids: list[int]
    """Without the token that ends the turn."""
    nll: list[float] | None = None
    """Negative log-likelihood of each token under the competitor, in nats; None: not measured."""
    rewards: dict[str, float] | None = None
    """Reply-level parts of the reward, `total` among them; None: the seat is not trained."""

    @property
    def mean_nll(self) -> float | None:
        """Nats per token; None where nothing was measured.

        Where the reward says what the reply's NLL was, that figure stands: unlike `nll` it counts
        the end token that the speaker drew.
        """
        if self.rewards and JUDGED_NLL in self.rewards:
            return self.rewards[JUDGED_NLL]
        return sum(self.nll) / len(self.nll) if self.nll else None


@dataclass(frozen=True)
class Transcript:
    """One dialogue."""

    iteration: int
    """The iteration that played it."""
    number: int
    """Which of the iteration's dialogues it is."""
    opponent: str
    """Who sat opposite: the competitor, or an earlier self from the pool."""
    turns: list[TranscriptTurn]
    """The opener, then the replies in order."""
    terminated: bool
    truncated: bool


def append_transcripts(path: Path, transcripts: Iterable[Transcript]) -> None:
    """Add dialogues to the file at `path`, a line each; NaN becomes null."""
    lines = [to_json(asdict(transcript)) + "\n" for transcript in transcripts]
    append_text(path, "".join(lines))


def read_transcripts(path: Path) -> list[Transcript]:
    """The dialogues so far, none where there is no file; a last line torn by a crash is left out.

    Raises:
        TranscriptError: for a broken line elsewhere, with its number.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    transcripts = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            transcripts.append(_from_row(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TranscriptError(
                f"{display_path(path)}:{number}: not a dialogue "
                f"({type(error).__name__}: {error}); delete the line"
            ) from error
    return transcripts


def drop_transcripts_after(path: Path, iteration: int) -> None:
    """Forget the dialogues of iterations beyond `iteration`, which a resumed run plays again."""
    if not path.is_file():
        return
    kept = [item for item in read_transcripts(path) if item.iteration <= iteration]
    text = "".join(to_json(asdict(transcript)) + "\n" for transcript in kept)
    if path.read_bytes() != text.encode("utf-8"):
        atomic_write_text(path, text)


def split_pieces(decode: Callable[[list[int]], str], token_ids: Sequence[int]) -> list[str]:
    """The text of each token, such that the pieces join to `decode(token_ids)`.

    A character of several bytes may be spread over several tokens: it belongs to the last of them,
    and the pieces of the others are empty.

    Args:
        decode: the tokenizer's, with its clean-up of spaces turned off.
        token_ids: [n].
    """
    ids = list(token_ids)
    whole = decode(ids)
    pieces, done = [], ""
    for end in range(1, len(ids) + 1):
        text = whole if end == len(ids) else decode(ids[:end])
        complete = text if end == len(ids) else text.rstrip(REPLACEMENT)
        if not complete.startswith(done):  # bytes that turn out not to be a character
            complete = done
        pieces.append(complete[len(done) :])
        done = complete
    if pieces and done != whole:
        pieces[-1] += whole[len(done) :]
    return pieces


def seat_letters(seats: Iterable[str]) -> dict[str, str]:
    """The shortest beginning of each seat's name that no other seat shares, capitalised."""
    names = sorted(set(seats))
    letters = {}
    for name in names:
        others = [other for other in names if other != name]
        lengths = range(1, len(name) + 1)
        free = (n for n in lengths if not any(other.startswith(name[:n]) for other in others))
        short = name[: next(free, len(name))]
        letters[name] = short[:1].upper() + short[1:]
    return letters


def title_of(transcript: Transcript) -> str:
    """One line that says which dialogue it is and how it ended."""
    end = "terminated" if transcript.terminated else "truncated" if transcript.truncated else "open"
    return (
        f"iteration {transcript.iteration}, dialogue {transcript.number}, "
        f"with {transcript.opponent}, {len(transcript.turns) - 1} replies, {end}"
    )


def figures_of(turn: TranscriptTurn) -> str:
    """A reply's mean NLL and its reward, such as `4.21 nats/token, reward +1.30`; may be empty."""
    parts = [] if turn.mean_nll is None else [f"{turn.mean_nll:.2f} nats/token"]
    if turn.rewards and TOTAL_REWARD in turn.rewards:
        parts.append(f"reward {turn.rewards[TOTAL_REWARD]:+.2f}")
    return ", ".join(parts)


def format_transcript(transcript: Transcript) -> str:
    """The dialogue as lines `D: ...`, with NLL and reward behind the replies that have them."""
    letters = seat_letters(turn.seat for turn in transcript.turns if turn.seat != OPENER)
    lines = []
    for turn in transcript.turns:
        label = "" if turn.seat == OPENER else f"{letters[turn.seat]}: "
        figures = figures_of(turn)
        lines.append(label + (printable(turn.text) or "(says nothing)"))
        lines[-1] += f"  [{figures}]" if figures else ""
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` on one line, without what would move a terminal's cursor or change its colours."""
    shown = (
        _escape(character) if unicodedata.category(character) in UNPRINTABLE else character
        for character in text
    )
    return "".join(shown)


def _escape(character: str) -> str:
    """A control character, a direction mark or the like, as Python writes it."""
    return character.encode("unicode_escape").decode("ascii")


def _from_row(row: Mapping[str, Any]) -> Transcript:
    turns = [_turn_from_row(turn) for turn in row["turns"]]
    if not turns:
        raise ValueError("no turns")
    flags = (row["terminated"], row["truncated"])
    if not all(isinstance(flag, bool) for flag in flags):
        raise TypeError(f"terminated and truncated are {flags}, not true or false")
    return Transcript(
        int(row["iteration"]), int(row["number"]), str(row["opponent"]), turns, *flags
    )


def _turn_from_row(row: Mapping[str, Any]) -> TranscriptTurn:
    token_ids = [int(token) for token in row["token_ids"]]
    pieces = [str(piece) for piece in row["pieces"]]
    nll = None if row.get("nll") is None else [_number(value) for value in row["nll"]]
    for name, values in (("pieces", pieces), ("nll", nll)):
        if values is not None and len(values) != len(token_ids):
            raise ValueError(f"{len(values)} {name} of {len(token_ids)} tokens")
    rewards = row.get("rewards")
    parts = None if rewards is None else {str(k): _number(v) for k, v in rewards.items()}
    return TranscriptTurn(str(row["seat"]), str(row["text"]), pieces, token_ids, nll, parts)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
