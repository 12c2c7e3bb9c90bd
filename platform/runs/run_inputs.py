"""What a run starts from, found again: noted when it begins, and the same when it goes on.

An input is looked for where the command line says, where it lay, and where the settings' name leads
from here. What is found must have the content that was noted; else it is refused by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from parley.platform.errors import InputError, display_path
from parley.platform.runs.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    resolve_checkpoint,
)
from parley.platform.runs.kinds import RUN_DEPTH
from parley.platform.runs.pinned_inputs import (
    FACT,
    RunInput,
    list_files,
    note_inputs,
    parse_inputs,
    pin_files,
    pin_hashes,
    read_inputs,
)
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.experiments import load_function
from parley.platform.settings.inputs import Kind, NamedInput, list_inputs, with_places
from parley.platform.settings.sections import ExperimentConfig

Config = TypeVar("Config", bound=ExperimentConfig)
Find = Callable[[str], RunInput | None]
"""From a name in the settings to what it means here and now; None: there is no such thing."""

LOCATE_MODEL = "parley.platform.language.resolving:locate_model"
MODEL_FILES = "parley.platform.language.resolving:model_files"
IDENTIFY_DETECTOR = "parley.platform.maxims.identity:identify_detector"
"""Who finds what: by name, for a run's files know neither models nor judges."""
PAIR_FILES = ("train*", "test*", "data/train*", "data/test*")
JUDGES = ("judge", "detector")
JUDGES_FILE = "judges.json"
"""What older runs note, of their judges alone."""
JUDGE_REMEDY = (
    "what it was made of (PARLEY_DATA, the extra `embeddings`, the folder's files; `pairs-` "
    "learned from prepared pairs, as in no earlier version)"
)


class MissingInputError(ConfigError):
    """What a run began with lies nowhere where it is looked for."""


def keep_inputs(config: Config, run_folder: RunFolder, resume: bool) -> Config:
    """Note what a run begins with; refuse anything else when it goes on.

    Returns:
        The settings with the inputs named by where they lie. What a name means from here keeps it;
        a model's name may mean another one while the run lasts.

    Raises:
        ConfigError: an input is not the one that the run began with.
        MissingInputError: it is gone.
        InputError: an input cannot be read.
    """
    noted = _read_notes(config, run_folder.path) if resume else {}
    has_begun = resume and CheckpointStore(run_folder.checkpoints).has_any()
    if resume and not noted and list_inputs(config):
        _tell("this run does not say what it began with; what its settings name now is noted")
    places, present = {}, {}
    for entry in list_inputs(config):
        known, moved = noted.get(entry.key), run_folder.moved.get(entry.key)
        if known is None and moved is not None:
            raise ConfigError(
                f"{entry.key}={moved}: a resumed run keeps what it began with, and this one does "
                f"not say what that was; leave it out, or start a new run without --resume"
            )
        if has_begun and entry.mark.only_at_start:
            continue
        found = _find(entry, known, [] if moved is None else [moved], _has_pairs(config))
        if found is None:
            continue
        present[entry.key] = found
        if entry.mark.kind == "model" or found.place != str(Path(entry.name).absolute()):
            places[entry.key] = found.place
    note_inputs(run_folder.path, present)
    return with_places(config, places)


def find_inputs(
    config: Config,
    checkpoint: Checkpoint,
    keys: Iterable[str],
    moved: Mapping[str, str] | None = None,
) -> Config:
    """The settings of a checkpoint with inputs named by where they lie now.

    Args:
        config: the experiment that the checkpoint belongs to.
        checkpoint: as `keep_inputs` had it written.
        keys: the inputs that are asked for.
        moved: key -> where the command line says that it lies. A judge that is named there may be
            another one: what is measured with it is not compared with figures of the run.

    Raises:
        ConfigError: an input is not the one that the run began with.
        MissingInputError: it is gone.
    """
    moved = moved or {}
    notes = _notes_of(config, checkpoint)
    entries = [entry for entry in list_inputs(config) if entry.key in set(keys)]
    if entries and not notes:
        _tell("the checkpoint does not say what it began with; taking what its settings name now")
    places = {}
    for entry in entries:
        if entry.key in moved and entry.mark.kind in JUDGES:
            places[entry.key] = moved[entry.key]
            continue
        known = [note[entry.key] for note in notes if entry.key in note]
        if entry.mark.kind == "judge" and _has_pairs(config):
            known = [note for note in known if not _knew_no_pairs(note)]
        if known:
            elsewhere = [moved[entry.key]] if entry.key in moved else [n.place for n in known[1:]]
            found = _find(entry, known[0], elsewhere, _has_pairs(config))
            places |= {} if found is None else {entry.key: found.place}
        elif entry.key in moved:
            places[entry.key] = moved[entry.key]
    return with_places(config, places)


def has_notes(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint says what its run began with."""
    return FACT in checkpoint.read_policy_facts()


def keep_made(key: str, folder: Path, run: Path) -> None:
    """Note a model that the run made itself and starts from; refuse another one later.

    Raises:
        ConfigError: the folder is not as the run left it.
    """
    present = _pin_model(key, folder)
    noted = read_inputs(run).get(key)
    if noted is not None and not noted.is_same(present):
        raise ConfigError(
            f"{display_path(folder)} is not as the run left it: "
            f"{', '.join(noted.differing_files(present))} changed; bring it back, or start a new "
            f"run without --resume"
        )
    note_inputs(run, {key: present})


def _find(
    entry: NamedInput, known: RunInput | None, elsewhere: list[str], has_pairs: bool
) -> RunInput | None:
    """The input where it lies now; None: there is none, and none was noted."""
    find = _FINDERS[entry.mark.kind]
    if entry.mark.kind == "judge":
        find = partial(_find_judge, has_pairs=has_pairs)
    if known is None:
        return find(entry.name)
    others = []
    for name in dict.fromkeys([*elsewhere, known.place, known.name]):
        try:
            found = find(name)
        except InputError:  # from here the name leads nowhere
            continue
        if found is not None and known.is_same(found):
            return replace(found, name=known.name, identity=found.identity or known.identity)
        others += [] if found is None else [found]
    raise _refuse(entry, known, others)


def _refuse(entry: NamedInput, known: RunInput, others: list[RunInput]) -> ConfigError:
    what = f"{known.name} ({known.describe()}, {known.place})"
    if entry.mark.kind in JUDGES:
        now = others[0].describe() if others else "nowhere to be found"
        return ConfigError(
            f"{entry.key} = {known.name} is {now} now, but the run began with {known.describe()}: "
            f"their figures cannot be compared. Bring back {JUDGE_REMEDY}, start a new run, or let "
            f"`parley evaluate` measure by the present one: {entry.key}={entry.name}"
        )
    remedy = f"bring it back, or name the place where it lies: {entry.key}=PLACE"
    if not others:
        return MissingInputError(f"{entry.key}: the run began with {what}, now gone; {remedy}")
    found = others[0]
    files = known.differing_files(found)
    return ConfigError(
        f"{entry.key}: {found.place} is not what the run began with: expected {what}, found "
        f"{found.describe()}"
        + (f", where {_some(files)} differ{'s' * (len(files) == 1)}" if files else "")
        + f"; {remedy}"
    )


def _some(names: list[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _notes_of(config: ExperimentConfig, checkpoint: Checkpoint) -> list[dict[str, RunInput]]:
    """What a checkpoint says, and what its run does: there an input may lie elsewhere by now."""
    notes = [parse_inputs(checkpoint.read_policy_facts().get(FACT, {}))]
    for folder in list(checkpoint.path.absolute().parents)[:RUN_DEPTH]:
        notes.append(_read_notes(config, folder))
    return [note for note in notes if note]


def _read_notes(config: ExperimentConfig, run: Path) -> dict[str, RunInput]:
    """What a run folder says, an older one of its judges alone."""
    noted = read_inputs(run)
    if noted or not (run / JUDGES_FILE).is_file():
        return noted
    path = run / JUDGES_FILE
    try:
        identities: dict[str, str | None] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{display_path(path)} is damaged ({error}); delete it to resume with the present "
            f"judges"
        ) from error
    return {
        entry.key: RunInput(entry.name, entry.name, identities.get(entry.mark.kind))
        for entry in list_inputs(config)
        if entry.mark.kind in JUDGES
    }


def _pin_model(name: str, folder: Path) -> RunInput:
    model_files = load_function(MODEL_FILES)
    try:
        return pin_files(name, folder, cast("dict[str, Path]", model_files(folder)))
    except ValueError as error:
        raise InputError(str(error)) from error


def _find_model(name: str) -> RunInput | None:
    folder = cast("Path | None", load_function(LOCATE_MODEL)(name, _tell))
    return None if folder is None else _pin_model(name, folder)


def _find_checkpoint(name: str) -> RunInput | None:
    """The best or newest one of a run; its files are hashed already."""
    try:
        checkpoint = resolve_checkpoint(Path(name).expanduser())
    except CheckpointError:
        if Path(name).exists():
            raise
        return None
    return pin_hashes(name, checkpoint.path, checkpoint.policy_hashes())


def _find_data(name: str) -> RunInput | None:
    place = Path(name).expanduser()
    return pin_files(name, place, list_files(place)) if place.exists() else None


def _find_pairs(name: str) -> RunInput | None:
    place = Path(name).expanduser()
    return pin_files(name, place, list_files(place, PAIR_FILES)) if place.exists() else None


def _find_detector(name: str) -> RunInput | None:
    return _identify(name, "detector")


def _find_judge(name: str, has_pairs: bool = False) -> RunInput | None:
    return _identify(name, "judge", has_pairs)


def _identify(name: str, role: str, *more: bool) -> RunInput:
    identity = cast("str | None", load_function(IDENTIFY_DETECTOR)(name, role, *more))
    return RunInput(name, _absolute(name), identity)


def _has_pairs(config: ExperimentConfig) -> bool:
    """Whether there are prepared pairs, from which the embedded judge may learn."""
    return any(entry.mark.kind == "pairs" for entry in list_inputs(config))


def _knew_no_pairs(judge: RunInput) -> bool:
    """Whether a run of an earlier version noted the embedded judge, which learned elsewhere.

    Its checkpoints are evaluated by the one of now: small talk taught the other nothing about them.
    """
    if Path(judge.name).is_dir() or judge.identity is None:
        return False
    here, before = _find_judge(judge.name, has_pairs=True), _find_judge(judge.name)
    return here != before and before is not None and judge.is_same(before)


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_FINDERS: dict[Kind, Find] = {
    "model": _find_model,
    "checkpoint": _find_checkpoint,
    "data": _find_data,
    "pairs": _find_pairs,
    "detector": _find_detector,
    "judge": _find_judge,
}
"""What a kind of input needs is imported when it is looked for: torch, judges, the Hub."""
