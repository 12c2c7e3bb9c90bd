"""Preference data on disk: two files that `datasets` loads as splits, and the account next to them.

`train` and `test` are Parquet or JSONL. Folders made by other programs are read, too, as long as
they have the columns prompt, chosen and rejected.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

import pyarrow
import pyarrow.parquet

from parley.envs.dialogue.spelt_ends import strip_spelt_ends
from parley.platform.errors import InputError
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.pairs.preparing import pair_id
from parley.platform.maxims.pairs.reading import DataFileError, read_rows
from parley.platform.maxims.pairs.rows import (
    UNKNOWN,
    RowError,
    has_spelt_end,
    prompt_context,
    read_prompt,
)
from parley.platform.maxims.text.exchange import make_prompt
from parley.platform.runs.files import atomic_write_bytes, atomic_write_text, sync_folder

Format = Literal["parquet", "jsonl"]
SPLITS = ("train", "test")
"""Stems of the files: the training and the held-out side. `datasets` knows them by these names."""
SUFFIXES = (".parquet", ".jsonl", ".json")
SUMMARY = "summary.json"
WRITTEN_BY = "parley data prepare"
"""What a summary says under `written_by`."""
COLUMNS = tuple(field.name for field in fields(PreferencePair))
REQUIRED = ("prompt", "chosen", "rejected")


class PairFolderError(InputError):
    """A folder that does not hold preference pairs, or that may not be written."""


def read_pairs(folder: Path) -> PairSplit:
    """The pairs of a folder, training and held-out.

    Raises:
        PairFolderError, DataFileError: a file is absent, cannot be read, or has a row that is no
            pair; the message names file, row and column.
    """
    if not folder.is_dir():
        raise PairFolderError(
            f"{folder} is no folder; write one by `parley data prepare FILE --out {folder}`"
        )
    sides = [_read_side(_find_file(folder, split)) for split in SPLITS]
    training, heldout = ([pair for pair, _ in side] for side in sides)
    return PairSplit(training, heldout, sum(spelt for side in sides for _, spelt in side))


def check_target(folder: Path, force: bool) -> None:
    """Make sure that writing to `folder` loses nothing that is not meant to be lost.

    Raises:
        PairFolderError: something lies there that may not be replaced.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PairFolderError(f"--out {folder} is a file; name a folder")
    found = sorted(path.name for path in folder.iterdir())
    if not found:
        return
    own = _summary_names(folder)
    if own is None:
        raise PairFolderError(
            f"--out {folder} holds files that {WRITTEN_BY} did not write ({found[0]}); name "
            f"another folder"
        )
    strange = [name for name in found if name not in own]
    if strange:
        raise PairFolderError(
            f"--out {folder} holds {strange[0]} besides prepared data; move it away, or name "
            f"another folder"
        )
    if not force:
        raise PairFolderError(
            f"--out {folder} holds data that {WRITTEN_BY} wrote; add --force to replace it, or "
            f"name another folder"
        )


def write_folder(
    folder: Path,
    split: PairSplit,
    file_format: Format,
    remarks: Mapping[str, Sequence[Mapping[str, object]]],
    summary: Mapping[str, object],
) -> None:
    """Write a folder whole or not at all, in the place of what was there.

    Args:
        folder: as `check_target` allowed it.
        split: the pairs.
        file_format: of the two files of pairs.
        remarks: file name -> lines to write as JSONL.
        summary: goes to `summary.json`, with the names of all files written.

    Raises:
        PairFolderError: nothing can be written there.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent)
    except OSError as error:
        raise PairFolderError(
            f"--out {folder} cannot be written: {error.strerror}; name another folder"
        ) from error
    staging = Path(name)
    fresh, old = staging / "new", staging / "old"
    try:
        fresh.mkdir()
        for name, pairs in zip(SPLITS, (split.training, split.heldout), strict=True):
            WRITERS[file_format](fresh / f"{name}.{file_format}", pairs)
        for name, lines in remarks.items():
            atomic_write_text(fresh / name, "".join(f"{json.dumps(line)}\n" for line in lines))
        names = sorted([*(path.name for path in fresh.iterdir()), SUMMARY])
        content = {"written_by": WRITTEN_BY, **summary, "files": names}
        atomic_write_text(fresh / SUMMARY, json.dumps(content, indent=2) + "\n")
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_parquet(path: Path, pairs: Sequence[PreferencePair]) -> None:
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    columns = {name: [getattr(pair, name) for pair in pairs] for name in COLUMNS}
    table = pyarrow.Table.from_pydict(columns, schema=schema)
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    atomic_write_bytes(path, sink.getvalue().to_pybytes())


def _write_jsonl(path: Path, pairs: Sequence[PreferencePair]) -> None:
    lines = (json.dumps(vars(pair), ensure_ascii=False) for pair in pairs)
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))


WRITERS: dict[Format, Callable[[Path, Sequence[PreferencePair]], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}


def _summary_names(folder: Path) -> list[str] | None:
    """The files that a summary in `folder` lists; None where there is none that parley wrote."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(summary, dict) or summary.get("written_by") != WRITTEN_BY:
        return None
    names = summary.get("files")
    return [str(name) for name in names] if isinstance(names, list) else []


def _find_file(folder: Path, split: str) -> Path:
    files = sorted(path for path in folder.iterdir() if path.stem == split and path.is_file())
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not found:
        others = f" (it has {files[0].name}, which is not read)" if files else ""
        raise PairFolderError(
            f"{folder} has no {split}.parquet or {split}.jsonl{others}; write it by "
            f"`{WRITTEN_BY} FILE --out {folder}`"
        )
    if len(found) > 1:
        raise PairFolderError(f"{folder} has {found[0].name} and {found[1].name}; remove one")
    return found[0]


def _read_side(path: Path) -> list[tuple[PreferencePair, bool]]:
    """The pairs, and of each whether it spelt an end token."""
    rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_json(path)
    if not rows:
        raise PairFolderError(f"{path} has no rows; add pairs to it")
    return [_to_pair(row, f"{path}, row {number}", path) for number, row in enumerate(rows, 1)]


def _read_parquet(path: Path) -> Sequence[object]:
    try:
        table = pyarrow.parquet.read_table(path, partitioning=None)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFileError(f"{path} is not readable Parquet: {error}") from error
    known = [name for name in COLUMNS if name in table.column_names]
    rows: list[object] = table.select(known).to_pylist()
    return rows


def _read_json(path: Path) -> Sequence[object]:
    return [row.value for row in read_rows(path)]


def _to_pair(row: object, place: str, path: Path) -> tuple[PreferencePair, bool]:
    if not isinstance(row, Mapping):
        raise PairFolderError(f"{place}: not an object of columns")
    for column in COLUMNS:
        value = row.get(column)
        if value is None and column not in REQUIRED:
            continue
        if not isinstance(value, str):
            wrong = "is absent" if column not in row else f"is not text: {str(value)[:60]!r}"
            raise PairFolderError(f"{place}: column {column} {wrong}")
        if not strip_spelt_ends(value):
            raise PairFolderError(f"{place}: column {column} is empty")
    try:
        context, evidence = read_prompt(row["prompt"])
    except RowError as error:
        raise PairFolderError(f"{place}: column prompt: {error}") from None
    spells = has_spelt_end(prompt_context(row["prompt"]), row["chosen"], row["rejected"])
    chosen, rejected = (
        strip_spelt_ends(row[side]) if spells else row[side] for side in ("chosen", "rejected")
    )
    made = pair_id(context, evidence, chosen, rejected)
    pair = PreferencePair(
        id=row.get("id") or made,
        conversation=row.get("conversation") or _made_name(context),
        prompt=make_prompt(context, evidence),
        chosen=chosen,
        rejected=rejected,
        maxim=row.get("maxim") or UNKNOWN,
        source=row.get("source") or path.name,
    )
    return pair, spells


def _made_name(context: str) -> str:
    """A conversation's name where the folder gives none: pairs of one context have the same."""
    return f"group-{hashlib.sha256(context.encode()).hexdigest()[:16]}"
