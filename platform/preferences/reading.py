"""Rows of a JSON or JSONL file, each with its place, so that an error can name it.

A file that is broken as a whole is an error; a row of a wrong type is not, it is handed on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from parley.platform.errors import InputError


class DataFileError(InputError):
    """A data file that cannot be read; the message says where it breaks."""


@dataclass(frozen=True)
class SourceRow:
    """One value of a file; whether it is a row of any use is for the reader to find out."""

    path: Path
    unit: str
    """What `number` counts: `line` in JSONL, `row` in a JSON list."""
    number: int
    """From 1."""
    value: object

    @property
    def place(self) -> str:
        """Such as `pairs.jsonl, line 12`."""
        return f"{self.path}, {self.unit} {self.number}"


def read_rows(path: Path) -> list[SourceRow]:
    """The rows of a JSON list or of JSON lines, whatever the file's suffix; blank lines are none.

    Raises:
        DataFileError: no such file, not UTF-8, not JSON, or not a list of rows.
    """
    return parse_rows(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The content of an input file.

    Raises:
        DataFileError: there is no such file, or it cannot be read.
    """
    if path.is_dir():
        raise DataFileError(f"{path} is a folder; name the JSON or JSONL files in it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror}") from error


def parse_rows(content: bytes, path: Path) -> list[SourceRow]:
    """`read_rows` of a content that was read from `path`."""
    text = decode(content, path)
    if text.lstrip().startswith("["):
        values = parse_json(text, path)
        assert isinstance(values, list), "JSON that opens with a bracket is a list"
        return [SourceRow(path, "row", number, value) for number, value in enumerate(values, 1)]
    # Not splitlines: JSON strings may hold U+2028 and its like, which do not end a line of JSONL.
    lines = enumerate(text.split("\n"), 1)
    rows = [
        SourceRow(path, "line", number, parse_json(line, path, number))
        for number, line in lines
        if line.strip()
    ]
    if not rows:
        raise DataFileError(f"{path} is empty; give a JSON list of rows, or one row a line")
    return rows


def decode(content: bytes, path: Path) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        DataFileError: other bytes; the message says at which line and byte.
    """
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataFileError(
            f"{path}, line {line}: byte {error.start + 1} of the file "
            f"(0x{content[error.start]:02x}) is not UTF-8; save the file as UTF-8"
        ) from None


def parse_json(text: str, path: Path, line: int | None = None) -> object:
    """The value of JSON text, a whole file or its line `line`.

    Raises:
        DataFileError: not JSON; the message says at which line and column.
    """
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        if line == 1 and text.strip() in ("{", "}"):
            reason = "an object over several lines is no row; give a list, or one row a line"
        elif not text[error.pos :].strip() or error.msg.startswith("Unterminated string"):
            reason = "the JSON ends in the middle; the file is cut short or damaged"
        else:
            reason = f"not JSON: {error.msg}"
        raise DataFileError(f"{path}, {place}: {reason}") from None
    except RecursionError:
        raise DataFileError(f"{path}: the JSON is nested too deeply to be rows") from None
    return value
