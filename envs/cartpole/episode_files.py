"""Files of token episodes: one record of columns as Parquet or .npz, written atomically.

Knows formats and what can be wrong with a file; what the columns mean is `episodes`' business.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]
Metadata = dict[str, Any]

METADATA_KEY = "parley.episodes"
FORMAT_VERSION = 1
COLUMNS = ("tokens", "offsets", "returns", "terminated")
PARQUET_COLUMNS = ("tokens", "returns", "terminated")
LABELS = "labels"
"""A column that may be absent; as long as `tokens`, cut at the same offsets."""


def write_columns(path: Path, columns: Columns, metadata: Metadata) -> None:
    """Write ragged episodes so that at every moment the file is the old one or the new one.

    Args:
        path: ends in ".parquet" or ".npz".
        columns: `tokens` of all episodes one after the other, `offsets` [n + 1] of the episodes in
            it, `returns` [n], `terminated` [n]; perhaps `labels`, as long as `tokens`.
        metadata: plain values, kept as JSON.

    Raises:
        ValueError: another suffix.
    """
    header = json.dumps({"format": FORMAT_VERSION, **metadata})
    if _suffix(path) == ".npz":
        arrays: Any = {**columns, METADATA_KEY: np.array(header)}
        _write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
        return
    offsets = columns["offsets"].astype(np.int32)
    lists = {
        name: pa.ListArray.from_arrays(offsets, columns[name])
        for name in ("tokens", LABELS)
        if name in columns
    }
    table = pa.table(
        {**lists, "returns": columns["returns"], "terminated": columns["terminated"]}
    ).replace_schema_metadata({METADATA_KEY: header})
    _write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_columns(path: Path) -> tuple[Columns, Metadata]:
    """Read what `write_columns` wrote.

    Raises:
        ValueError: the file is damaged, has another suffix, lacks columns, or is not parley's.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    columns, header = _read_npz(path) if _suffix(path) == ".npz" else _read_parquet(path)
    try:
        metadata: Metadata = json.loads(header)
        version = metadata.pop("format")
    except (AttributeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: metadata {METADATA_KEY!r} is no episode metadata") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format {version}, this version reads {FORMAT_VERSION}")
    return columns, metadata


def _suffix(path: Path) -> str:
    if path.suffix not in (".parquet", ".npz"):
        raise ValueError(f"{path}: an episode file ends in .parquet or .npz")
    return path.suffix


def _read_npz(path: Path) -> tuple[Columns, str]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: truncated, or no .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"{path}: damaged .npz file: {error}") from error
    _require(path, (*COLUMNS, METADATA_KEY), arrays)
    columns = {name: arrays[name] for name in (*COLUMNS, LABELS) if name in arrays}
    return columns, str(arrays[METADATA_KEY])


def _read_parquet(path: Path) -> tuple[Columns, str]:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged or truncated Parquet file: {error}") from error
    header = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    _require(path, (*PARQUET_COLUMNS, METADATA_KEY), [*table.column_names, *header])
    names = [name for name in (*PARQUET_COLUMNS, LABELS) if name in table.column_names]
    for name in names:
        if table[name].null_count:
            raise ValueError(f"{path}: column {name} has {table[name].null_count} missing values")
    columns: Columns = {}
    for name in names:
        if name not in ("tokens", LABELS):
            columns[name] = table[name].to_numpy()
            continue
        if not pa.types.is_list(table.schema.field(name).type):
            raise ValueError(f"{path}: column {name} must hold lists, got {table[name].type}")
        lists = table[name].combine_chunks()
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if not np.array_equal(columns.setdefault("offsets", offsets), offsets):
            raise ValueError(f"{path}: labels and tokens differ in length")
        columns[name] = lists.flatten().to_numpy(zero_copy_only=False)
    return columns, header[METADATA_KEY]


def _require(path: Path, names: Iterable[str], present: Collection[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"{path}: {missing} missing, the file has {sorted(present)}")


def _write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
