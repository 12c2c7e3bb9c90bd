"""What a detector learns from and is measured on: rows of several origins, in folds.

Origins: labelled files and repairs; turns of conversations, taken as clean; the same turns violated
by the injectors. Folds are made of whole conversations (what shares an utterance is one), and the
injections of a fold use phrases and replies of that fold alone: a model that has not seen a fold
knows neither its conversations nor its phrases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from parley.envs.dialogue.conversation_files import describe_reading, load_conversations
from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.errors import InputError
from parley.platform.maxims.detector_settings import DialogueDetectorConfig
from parley.platform.maxims.pairs.grouping import Spoken, group_conversations
from parley.platform.maxims.pairs.injector_templates import TRAINING, UNSEEN, Templates
from parley.platform.maxims.pairs.injectors import INJECTORS, inject
from parley.platform.maxims.pairs.labelled import (
    NO_VIOLATION,
    LabelledRow,
    Labels,
    RowProblem,
    read_labelled,
)
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import likeness, split_turns

WINDOWS = (1, 2, 3, 3, 3, 3)
"""Turns of context before a response, drawn with equal chance; the given files have up to three."""
HUMAN_SHARE = 0.3
"""Of the injections go into human responses of the labelled files, where there are any."""
EVIDENCE = "FS1"
"""Pointer of the drawn exchanges; no feature looks at it."""
MAX_MISSES = 200
"""Turns in a row that an injector may decline."""
CLEAN: Labels = (False, False, False, False)

Origin = Literal["labelled", "human", "turn", "injected", "unseen", "unseen_turn"]
LEARNED: tuple[Origin, ...] = ("labelled", "human", "turn", "injected")
"""The other two are measured only."""


class CorpusRow(NamedTuple):
    """One response to learn from or to measure on."""

    exchange: Exchange
    labels: Labels
    origin: Origin
    kind: str
    """The violation's type, `none` where there is none."""
    fold: int
    group: int
    """Number of its conversation: rows of one are not independent."""
    file: str = ""
    """Name of the labelled file that it comes from, or empty."""


@dataclass(frozen=True)
class Corpus:
    """All rows, and the clean conversations of each fold."""

    rows: list[CorpusRow]
    conversations: list[list[tuple[str, ...]]]
    """By fold: the turns of each conversation."""
    problems: list[RowProblem]
    """Rows of the files that could not be used."""
    remarks: list[str]
    """What was changed in the texts while they were read, a line each."""

    @property
    def num_folds(self) -> int:
        """Parts of the data."""
        return len(self.conversations)

    def clean_talks(self, left_out: set[int]) -> list[tuple[str, ...]]:
        """What people said outside of the given folds: conversations, and answered contexts."""
        talks = [
            talk
            for fold, part in enumerate(self.conversations)
            if fold not in left_out
            for talk in part
        ]
        answers = [
            (*split_turns(row.exchange.context), row.exchange.response)
            for row in self.rows
            if row.origin == "human" and row.fold not in left_out
        ]
        return talks + answers


def build_corpus(config: DialogueDetectorConfig) -> Corpus:
    """The rows that the settings ask for; equal settings give equal rows.

    Raises:
        InputError: a file cannot be read, or there are too few conversations for the folds.
    """
    remarks: list[str] = []
    labelled, problems = _read_files(config.data.labelled, remarks)
    talks = _read_talks(config, remarks)
    labelled = _name_kinds(labelled)
    groups = _group(labelled, talks)
    fold_of = _assign_folds(groups, len(labelled), config.model.folds)
    rows = [
        CorpusRow(row.exchange, row.labels, origin, row.violation_type, fold_of[group], group, file)
        for (row, origin, file), group in zip(labelled, groups, strict=False)
        if row.labels is not None
    ]
    numbered = list(zip(talks, groups[len(labelled) :], strict=True))
    conversations: list[list[tuple[str, ...]]] = [[] for _ in range(config.model.folds)]
    for talk, group in numbered:
        conversations[fold_of[group]].append(talk)
    if min(map(len, conversations)) < 2:
        raise InputError(
            f"{len(talks)} conversations that share no utterance are too few for "
            f"{config.model.folds} folds; give more in data.conversations or lower model.folds"
        )
    rows += _Injections(config, numbered, fold_of, rows).make()
    return Corpus(rows, conversations, problems, remarks)


Filed = tuple[LabelledRow, Origin, str]


def _read_files(paths: Sequence[str], remarks: list[str]) -> tuple[list[Filed], list[RowProblem]]:
    """Labelled rows and the human responses next to them, each once per file."""
    found: dict[tuple[str, str, str, str], Filed] = {}
    problems: list[RowProblem] = []
    for path in map(Path, paths):
        read = read_labelled(path)
        problems += read.problems
        if remark := read.describe_spelt_ends():
            remarks.append(f"{path}: {remark}")
        for row in read.rows:
            if row.labels is None:
                problems.append(RowProblem(path, row.place, "no labels"))
                continue
            human = row._replace(
                exchange=row.exchange._replace(response=row.human),
                labels=CLEAN,
                violation_type=NO_VIOLATION,
            )
            _add(found, row, "labelled", path.name)
            if row.human:
                _add(found, human, "human", path.name)
    return list(found.values()), problems


def _add(
    found: dict[tuple[str, str, str, str], Filed], row: LabelledRow, origin: Origin, file: str
) -> None:
    context, _, response = row.exchange
    place = "" if origin == "human" else file
    found.setdefault((origin, place, likeness(context), likeness(response)), (row, origin, file))


def _name_kinds(labelled: Sequence[Filed]) -> list[Filed]:
    """The rows, with the kind of violation where another file names it for the same response."""
    named = {
        _text_of(row): row.violation_type
        for row, origin, _ in labelled
        if origin == "labelled" and row.violation_type in INJECTORS
    }
    return [
        (row._replace(violation_type=named.get(_text_of(row), row.violation_type)), origin, file)
        if origin == "labelled"
        else (row, origin, file)
        for row, origin, file in labelled
    ]


def _text_of(row: LabelledRow) -> tuple[str, str]:
    return likeness(row.exchange.context), likeness(row.exchange.response)


def _read_talks(config: DialogueDetectorConfig, remarks: list[str]) -> list[tuple[str, ...]]:
    """The turns of each conversation, white space squeezed."""
    if config.data.conversations:
        try:
            found = load_conversations(Path(config.data.conversations))
        except ValueError as error:
            raise InputError(f"data.conversations: {error}") from error
        if remark := describe_reading(found):
            remarks.append(f"{config.data.conversations}: {remark}")
        talks: list[Sequence[str]] = [conversation.messages for conversation in found]
    else:
        talks = [tuple(t) for t in generate_dialogues(config.data.num_dialogues, config.seed)]
    return [tuple(normalise_space(turn) for turn in talk) for talk in talks]


def _group(labelled: Sequence[Filed], talks: Sequence[tuple[str, ...]]) -> list[int]:
    """The conversation of every row and then of every talk, as a number."""
    if not labelled:  # small talk repeats itself: its dialogues are apart by construction
        return list(range(len(talks)))
    spoken = [
        Spoken(row.conversation, row.exchange.context, _said(row, origin), "")
        for row, origin, _ in labelled
    ]
    return group_conversations(spoken + [Spoken(None, _as_context(talk), "", "") for talk in talks])


def _assign_folds(groups: Sequence[int], num_labelled: int, num_folds: int) -> dict[int, int]:
    """The fold of every group: the largest first, each to the fold that has least of its kind.

    Groups with labelled rows are spread by these, the others by their number of conversations.
    """
    sizes = Counter(groups)
    labelled = Counter(groups[:num_labelled])
    loads = {kind: [0] * num_folds for kind in (True, False)}
    fold_of: dict[int, int] = {}
    for group in sorted(sizes, key=lambda g: (-labelled[g], -sizes[g], g)):
        load = loads[group in labelled]
        fold = min(range(num_folds), key=load.__getitem__)
        fold_of[group] = fold
        load[fold] += labelled[group] or sizes[group]
    return fold_of


def _said(row: LabelledRow, origin: Origin) -> str:
    """What a person said in this row; an injected violation is nobody's utterance."""
    clean = origin == "human" or (row.labels is not None and not any(row.labels))
    return row.exchange.response if clean else ""


class _Injections:
    """Turns as they are and violated, drawn without repetition while there are any left."""

    def __init__(
        self,
        config: DialogueDetectorConfig,
        talks: Sequence[tuple[tuple[str, ...], int]],
        fold_of: Mapping[int, int],
        rows: Sequence[CorpusRow],
    ) -> None:
        self._config = config
        self._rng = Random(f"injections {config.seed}")
        self._humans = [row for row in rows if row.origin == "human"]
        self._fold_of = fold_of
        self._pools: list[list[str]] = [[] for _ in range(config.model.folds)]
        for talk, group in talks:
            self._pools[fold_of[group]].extend(talk)
        self._places = [
            (talk, group, index) for talk, group in talks for index in range(1, len(talk))
        ]
        self._rng.shuffle(self._places)
        self._next = 0

    def make(self) -> list[CorpusRow]:
        """All rows that are made of conversations."""
        data, evaluation = self._config.data, self._config.evaluation
        # What is measured is drawn first: it must not be learned from.
        rows = self._clean(evaluation.clean_turns, "unseen_turn", len(self._places) // 4)
        for name in INJECTORS:
            unseen = [UNSEEN] * len(self._pools)
            rows += self._violate(name, evaluation.unseen_injections, unseen, "unseen")
        rows += self._clean(data.clean_turns, "turn", len(self._places) // 2)
        parts = [TRAINING.part(fold, len(self._pools)) for fold in range(len(self._pools))]
        for name, injector in INJECTORS.items():
            num = data.injections // len(injector.maxims)
            rows += self._violate(name, num, parts, "injected")
        return rows

    def _clean(self, num: int, origin: Origin, limit: int) -> list[CorpusRow]:
        drawn = [self._draw() for _ in range(min(num, max(limit, 1)))]
        return [
            CorpusRow(said, CLEAN, origin, NO_VIOLATION, self._fold_of[group], group)
            for said, group in drawn
        ]

    def _violate(
        self, name: str, num: int, templates: Sequence[Templates], origin: Origin
    ) -> list[CorpusRow]:
        maxims = INJECTORS[name].maxims
        quantity, quality, relation, manner = (maxim in maxims for maxim in MAXIMS)
        labels = (quantity, quality, relation, manner)
        rows: list[CorpusRow] = []
        misses = 0
        while len(rows) < num and misses < MAX_MISSES:
            said, group = self._draw(may_be_human=origin == "injected")
            fold = self._fold_of[group]
            violated = inject(name, said, self._rng, self._pools[fold], templates[fold])
            misses = misses + 1 if violated is None else 0
            if violated is not None:
                exchange = said._replace(response=violated)
                rows.append(CorpusRow(exchange, labels, origin, name, fold, group))
        return rows

    def _draw(self, may_be_human: bool = False) -> tuple[Exchange, int]:
        """An exchange of people, and the number of its conversation."""
        if may_be_human and self._humans and self._rng.random() < HUMAN_SHARE:
            row = self._rng.choice(self._humans)
            return row.exchange, row.group
        talk, group, index = self._places[self._next % len(self._places)]
        self._next += 1
        start = max(0, index - self._rng.choice(WINDOWS))
        context = _as_context(talk[start:index], start)
        return Exchange(context, EVIDENCE, talk[index]), group


def _as_context(turns: Sequence[str], start: int = 0) -> str:
    agents = (f"[agent_{(start + number) % 2 + 1}]: {turn}" for number, turn in enumerate(turns))
    return " ".join(agents)
