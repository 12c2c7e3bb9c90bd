"""From input files to a split of preference pairs, and an account of everything on the way.

Read, parse, drop duplicates, label, group by conversation, split, check: in this order, and each
step in a module of its own. Nothing is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parley.platform.errors import InputError
from parley.platform.maxims.pairs.grouping import Spoken, group_conversations
from parley.platform.maxims.pairs.labelling import label_rows
from parley.platform.maxims.pairs.leaks import LeakCheck, check_leaks, find_repeats
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.pairs.reading import SourceRow, parse_rows, read_bytes
from parley.platform.maxims.pairs.reading_sets import ReadingSets, count_pointers, resolve_evidence
from parley.platform.maxims.pairs.rows import UNKNOWN, ParsedRow, RowError, parse_row
from parley.platform.maxims.pairs.splitting import SplitError, choose_heldout
from parley.platform.maxims.text.exchange import make_prompt

SHOWN_CHARACTERS = 200
"""Of a dropped row."""
REPEATED = "context or chosen response stands in training, too"
"""Why a held-out pair is dropped: its words are too short to tell conversations apart."""


class PreparationError(InputError):
    """Input of which no split can be made."""


@dataclass(frozen=True)
class Remark:
    """A row that was dropped, or kept with a warning, and why."""

    row: SourceRow
    reason: str

    def to_dict(self) -> dict[str, object]:
        """As a line of `dropped.jsonl` and `warnings.jsonl`."""
        text = json.dumps(self.row.value, ensure_ascii=True)[:SHOWN_CHARACTERS]
        place = {"file": str(self.row.path), "unit": self.row.unit, "number": self.row.number}
        return {**place, "reason": self.reason, "row": text}


@dataclass(frozen=True)
class InputFile:
    """A file as it was read."""

    path: Path
    sha256: str
    num_rows: int


@dataclass(frozen=True)
class Preparation:
    """The split, and everything that is to be said about how it came about."""

    split: PairSplit
    check: LeakCheck
    files: list[InputFile]
    dropped: list[Remark]
    warnings: list[Remark]
    labelled: dict[str, int]
    """Rows labelled by the repairs next to them, by rule."""
    pointers: dict[str, int]
    """Evidence pointers, `resolved` and `kept`."""


def prepare_pairs(
    paths: Sequence[Path], share: float, seed: int, reading_sets: ReadingSets | None = None
) -> Preparation:
    """Preference pairs of all files, split by conversation.

    Args:
        paths: JSON or JSONL files of repairs, of preferences, or of both.
        share: of the pairs to train on, above 0 and below 1.
        seed: of the split; the same rows and seed give the same split, in any order.
        reading_sets: what evidence pointers stand for; None: pointers stay.

    Raises:
        DataFileError, PreparationError, SplitError: the files cannot be read, hold no usable row,
            or belong to one conversation.
    """
    files, rows = _read_files(paths)
    parsed, dropped = _parse(rows)
    parsed, duplicates = _drop_duplicates(parsed)
    if not parsed:
        raise PreparationError(_nothing_usable(paths, dropped))
    warnings = [Remark(row.row, warning) for row in parsed for warning in row.warnings]
    parsed, labelled = label_rows(parsed)
    pairs, pointers = _make_pairs(parsed, _name_groups(parsed), reading_sets or {})
    split = _split(list(pairs.values()), 1.0 - share, seed)
    row_of_id = {pair.id: row.row for row, pair in zip(parsed, pairs.values(), strict=True)}
    repeats = find_repeats(split)
    split = replace(split, heldout=[pair for pair in split.heldout if pair.id not in repeats])
    if not split.heldout:
        raise SplitError(
            "every pair that could be held out repeats a context or chosen response of the "
            "training side; add pairs of other conversations"
        )
    repeated = [Remark(row_of_id[name], REPEATED) for name in sorted(repeats)]
    return Preparation(
        split=split,
        check=check_leaks(split),
        files=files,
        dropped=dropped + duplicates + repeated,
        warnings=warnings,
        labelled=labelled,
        pointers=pointers,
    )


def pair_id(context: str, evidence: str, chosen: str, rejected: str) -> str:
    """16 hexadecimal digits of a pair's content, with evidence as the row gives it."""
    content = json.dumps([make_prompt(context, evidence), chosen, rejected])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read_files(paths: Sequence[Path]) -> tuple[list[InputFile], list[SourceRow]]:
    files, rows = [], []
    for path in paths:
        content = read_bytes(path)
        found = parse_rows(content, path)
        files.append(InputFile(path, hashlib.sha256(content).hexdigest(), len(found)))
        rows += found
    return files, rows


def _parse(rows: Sequence[SourceRow]) -> tuple[list[ParsedRow], list[Remark]]:
    parsed, dropped = [], []
    for row in rows:
        try:
            parsed.append(parse_row(row))
        except RowError as error:
            dropped.append(Remark(row, str(error)))
    return parsed, dropped


def _drop_duplicates(rows: Sequence[ParsedRow]) -> tuple[list[ParsedRow], list[Remark]]:
    """Each content once, with what any of its rows knows about conversation and maxim."""
    kept: dict[tuple[str, str, str, str], ParsedRow] = {}
    dropped = []
    for row in rows:
        first = kept.setdefault(row.content, row)
        if first is row:
            continue
        dropped.append(Remark(row.row, f"duplicate of {first.row.place}"))
        kept[row.content] = replace(
            first,
            conversation=first.conversation or row.conversation,
            maxim=row.maxim if first.maxim == UNKNOWN else first.maxim,
        )
    return list(kept.values()), dropped


def _name_groups(rows: Sequence[ParsedRow]) -> list[str]:
    """The conversation of each row: the ids that its group has, or one made of its content."""
    spoken = [Spoken(row.conversation, row.context, row.chosen, row.rejected) for row in rows]
    groups = group_conversations(spoken)
    given: defaultdict[int, set[str]] = defaultdict(set)
    made: defaultdict[int, set[str]] = defaultdict(set)
    for group, row in zip(groups, rows, strict=True):
        if row.conversation is not None:
            given[group].add(row.conversation)
        made[group].add(f"group-{pair_id(*row.content)}")
    names = {group: "+".join(sorted(given[group])) or min(made[group]) for group in made}
    return [names[group] for group in groups]


def _make_pairs(
    rows: Sequence[ParsedRow], names: Sequence[str], reading_sets: ReadingSets
) -> tuple[dict[str, PreferencePair], dict[str, int]]:
    """The pairs by id, in the order of the rows, and what became of the evidence pointers."""
    pairs: dict[str, PreferencePair] = {}
    before = after = 0
    for row, name in zip(rows, names, strict=True):
        readers = reading_sets.get(row.conversation or name, {})
        evidence = resolve_evidence(row.evidence, row.context, readers)
        before += count_pointers(row.evidence)
        after += count_pointers(evidence)
        pair = PreferencePair(
            id=pair_id(*row.content),
            conversation=name,
            prompt=make_prompt(row.context, evidence),
            chosen=row.chosen,
            rejected=row.rejected,
            maxim=row.maxim,
            source=row.row.path.name,
        )
        pairs[pair.id] = pair
    return pairs, {"resolved": before - after, "kept": after}


def _split(pairs: Sequence[PreferencePair], share: float, seed: int) -> PairSplit:
    """Whole conversations; each side in an order that does not depend on the input's."""
    members: defaultdict[str, list[PreferencePair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: pair.id):
        members[pair.conversation].append(pair)
    groups = sorted(members.values(), key=lambda group: group[0].id)
    chosen = choose_heldout([_count_maxims(group) for group in groups], share, seed)
    sides: tuple[list[PreferencePair], list[PreferencePair]] = ([], [])
    for index, group in enumerate(groups):
        sides[index in chosen].extend(group)
    return PairSplit(*sides)


def _count_maxims(pairs: Sequence[PreferencePair]) -> Counter[str]:
    """Pairs by label; one that violates several maxims is of a label of its own."""
    return Counter(pair.maxim for pair in pairs)


def _nothing_usable(paths: Sequence[Path], dropped: Sequence[Remark]) -> str:
    names = ", ".join(map(str, paths))
    reasons = Counter(remark.reason for remark in dropped).most_common(3)
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "there are no rows"
    first = f" (first: {dropped[0].row.place})" if dropped else ""
    return (
        f"{names}: no usable row: {listed}{first}; give repairs (input_text, target_text) or "
        f"preference rows (prompt, chosen, rejected)"
    )
