"""Rows of a JSON or JSONL file, each with its place, so that an error can name it.

A file that is broken as a whole is an error; a row of a wrong type is not, it is handed on. How
bytes become text and lines is the business of `envs.dialogue.text_files`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley.envs.dialogue import text_files
from parley.platform.errors import InputError

EXAMPLE = '{"prompt": "…", "chosen": "…", "rejected": "…"}'
"""A row, in messages."""


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
    """The rows of a JSON list or of JSON lines; blank lines are none.

    Raises:
        DataFileError: no such file, a table or a compressed file, not UTF-8, not JSON, or not a
            list of rows.
    """
    return parse_rows(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The content of an input file of rows.

    Raises:
        DataFileError: there is no such file, it cannot be read, or its name says that it is a
            table or compressed.
    """
    with _as_input_error():
        text_files.refuse_foreign(path, EXAMPLE)
        return text_files.read_bytes(path)


def parse_rows(content: bytes, path: Path) -> list[SourceRow]:
    """`read_rows` of a content that was read from `path`: a list or lines, as it begins."""
    with _as_input_error():
        text = text_files.decode(content, path)
        if text.lstrip().startswith("["):
            values = text_files.parse_json(text, path)
            assert isinstance(values, list), "JSON that opens with a bracket is a list"
            return [SourceRow(path, "row", number, value) for number, value in enumerate(values, 1)]
        lines = text_files.parse_json_lines(text, path)
    if not lines:
        raise DataFileError(f"{path} is empty; give a JSON list of rows, or one row a line")
    return [SourceRow(path, "line", number, value) for number, value in lines]


def read_object(path: Path) -> object:
    """The value of a JSON file.

    Raises:
        DataFileError: no such file, a table or a compressed file, not UTF-8, or not JSON.
    """
    content = read_bytes(path)
    with _as_input_error():
        return text_files.parse_json(text_files.decode(content, path), path)


@contextmanager
def _as_input_error() -> Iterator[None]:
    """What the environments call a bad file is wrong input to the platform."""
    try:
        yield
    except text_files.TextFileError as error:
        raise DataFileError(str(error)) from None
