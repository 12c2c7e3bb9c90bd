"""What a run starts from and does not hold itself, pinned: by its place and by its content.

A name in the settings may mean another thing tomorrow, or from another folder. So the run notes in
`inputs.json`, and every checkpoint in its `policy.json`, where each model, each judge and all data
lay, and what was in them. What is found later must be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parley.platform.errors import InputError, display_path
from parley.platform.records import Facts
from parley.platform.runs.files import atomic_write_text, to_json

INPUTS_FILE = "inputs.json"
FACT = "inputs"
"""Their key among the facts of a checkpoint."""
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class RunInput:
    """One thing that a run starts from."""

    name: str
    """As the settings say."""
    place: str
    """Absolute path, or a name where there is no folder."""
    identity: str | None
    """Differs where the content does; None: not known yet."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of its files, where it consists of files, by their paths inside."""

    def is_same(self, other: RunInput) -> bool:
        """Whether the content is the same, as far as it is known."""
        return None in (self.identity, other.identity) or self.identity == other.identity

    def describe(self) -> str:
        """The content in a few letters."""
        return (self.identity or "unknown")[:SHOWN_DIGITS]

    def differing_files(self, other: RunInput) -> list[str]:
        """Files that are not the same in both, or not in both."""
        names = sorted({*self.files, *other.files})
        return [name for name in names if self.files.get(name) != other.files.get(name)]


def pin_files(name: str, place: Path, files: Mapping[str, Path]) -> RunInput:
    """An input that consists of files.

    Args:
        name: as the settings say.
        place: the folder or file.
        files: path inside -> file.

    Raises:
        InputError: a file cannot be read.
    """
    return pin_hashes(name, place, {inside: _hash(file) for inside, file in sorted(files.items())})


def pin_hashes(name: str, place: Path, hashes: Mapping[str, str]) -> RunInput:
    """An input whose files are hashed already; the SHA-256 of all is its identity."""
    lines = "".join(f"{inside} {digest}\n" for inside, digest in sorted(hashes.items()))
    identity = hashlib.sha256(lines.encode()).hexdigest() if hashes else None
    return RunInput(name, str(place.absolute()), identity, dict(hashes))


def list_files(place: Path, patterns: Iterable[str] = ("**/*",)) -> dict[str, Path]:
    """Path inside -> file: what a folder holds, hidden files left out; or the one file itself."""
    if place.is_file():
        return {place.name: place}
    found = {path for pattern in patterns for path in place.glob(pattern) if path.is_file()}
    inside = {path.relative_to(place): path for path in found}
    return {
        str(path): file
        for path, file in inside.items()
        if not any(part.startswith(".") for part in path.parts)
    }


def read_inputs(run: Path) -> dict[str, RunInput]:
    """What a run folder notes of its inputs, by the keys of the settings; empty: an old run.

    Raises:
        InputError: the note is damaged.
    """
    path = run / INPUTS_FILE
    if not path.is_file():
        return {}
    try:
        return parse_inputs(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{display_path(path)} is damaged ({error}); delete it to resume with what the "
            f"settings name now"
        ) from error


def parse_inputs(table: Mapping[str, Mapping[str, Any]]) -> dict[str, RunInput]:
    """From what `to_table` gives."""
    return {key: RunInput(**entry) for key, entry in table.items()}


def to_table(inputs: Mapping[str, RunInput]) -> dict[str, Facts]:
    """As plain values, for `inputs.json` and `policy.json`."""
    return {key: asdict(entry) for key, entry in inputs.items()}


def note_inputs(run: Path, inputs: Mapping[str, RunInput]) -> None:
    """Write them into a run folder, unless they stand there; others that are noted stay."""
    noted = read_inputs(run)
    if inputs and (whole := {**noted, **inputs}) != noted:
        atomic_write_text(run / INPUTS_FILE, to_json(to_table(whole), indent=1) + "\n")


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{display_path(path)} cannot be read: {error.strerror}") from error
