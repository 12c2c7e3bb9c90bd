"""Text that people hand in, read in one way: which files, which bytes, where a line ends.

A file's kind is said by the end of its name, in any case. Text is UTF-8, with or without a byte
order mark. A line ends in `\\n`, `\\r\\n` or `\\r`; in JSON lines `\\n` alone ends one, and neither
takes U+2028, a form feed and their like for ends of lines, which may stand inside a text.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

Kind = Literal["text", "json", "json lines"]

KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".json": "json",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
}
"""How a file is read, by the end of its name."""
REMEDIES = {
    ".csv": "tables are not read; write one JSON object a line, such as {example}, as .jsonl",
    ".tsv": "tables are not read; write one JSON object a line, such as {example}, as .jsonl",
    ".xlsx": "tables are not read; write one JSON object a line, such as {example}, as .jsonl",
    ".parquet": "Parquet is not read here; write one JSON object a line, such as {example}",
    ".gz": "compressed files are not read; unpack it (gunzip) and name the file in it",
    ".bz2": "compressed files are not read; unpack it (bunzip2) and name the file in it",
    ".xz": "compressed files are not read; unpack it (unxz) and name the file in it",
    ".zst": "compressed files are not read; unpack it (unzstd) and name the file in it",
    ".zip": "archives are not read; unpack it and name the file in it",
}
"""What to do with files of a known kind that is not read."""
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class TextFileError(ValueError):
    """A file that cannot be read; the message names it, the line, and what to do."""


def kind_of(path: Path, kinds: Collection[Kind], example: str) -> Kind:
    """How the file `path` is read, by its name.

    Args:
        path: the file.
        kinds: those that are of use here.
        example: a line of JSON as it is expected here.

    Raises:
        TextFileError: there is no such file, or its name ends in nothing that is read here.
    """
    _require_file(path)
    refuse_foreign(path, example)
    kind = KINDS.get(path.suffix.lower())
    if kind is None or kind not in kinds:
        ends = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise TextFileError(
            f"{path}: its name {ends}, so how to read it is unknown; rename it to what it holds: "
            f"{' or '.join(suffixes_of(kinds))}"
        )
    return kind


def refuse_foreign(path: Path, example: str) -> None:
    """Refuse a file that by its name is a table, compressed or an archive.

    Raises:
        TextFileError: it is.
    """
    remedy = REMEDIES.get(path.suffix.lower())
    if remedy is not None:
        raise TextFileError(f"{path}: {remedy.format(example=example)}")


def suffixes_of(kinds: Collection[Kind]) -> list[str]:
    """The ends of names of these kinds."""
    return [suffix for suffix, kind in KINDS.items() if kind in kinds]


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        TextFileError: there is none, or it cannot be read.
    """
    _require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextFileError(f"{path} cannot be read: {error.strerror}") from error


def decode(content: bytes, path: Path) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        TextFileError: other bytes; the message says at which line and byte.
    """
    packed = next((name for magic, name in _COMPRESSED.items() if content.startswith(magic)), None)
    if packed is not None:
        raise TextFileError(f"{path} is compressed ({packed}); unpack it and name the file in it")
    if content.startswith(_UTF_16) or b"\0" in content[:1_000]:
        raise TextFileError(f"{path} is not UTF-8 but UTF-16 or no text; save the file as UTF-8")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TextFileError(
            f"{path}, line {line}: byte {error.start + 1} of the file "
            f"(0x{content[error.start]:02x}) is not UTF-8; save the file as UTF-8"
        ) from None


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        TextFileError: it cannot be read, or is no UTF-8.
    """
    return decode(read_bytes(path), path)


def split_lines(text: str) -> list[str]:
    """The lines of plain text, without their ends; what ends in a line's end has none after it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def refuse_json_as_text(path: Path, lines: Collection[str]) -> None:
    """Refuse plain text that is JSON by what it says: every line would be learned as a turn.

    Raises:
        TextFileError: its first line with anything on it is a JSON object or list.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            if _is_json(line) or line.strip() in ("{", "["):
                raise TextFileError(
                    f"{path}, line {number}: plain text is read from this file, but JSON stands "
                    f"there ({line.strip():.60}); rename it to .jsonl (one object a line) or .json"
                )
            return


def parse_json(text: str, path: Path, line: int | None = None) -> object:
    """The value of JSON text, a whole file or its line `line`.

    Raises:
        TextFileError: not JSON; the message says at which line and column.
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
            found = text[error.pos :].strip()[:40]
            reason = f"not JSON: {error.msg}, but {found!r} stands there"
            if KINDS.get(path.suffix.lower()) == "text":
                reason += "; plain text is not read here, rows are JSON: one object a line"
        raise TextFileError(f"{path}, {place}: {reason}") from None
    except RecursionError:
        raise TextFileError(f"{path}: the JSON is nested too deeply to be rows") from None
    return value


def holds_json_lines(text: str) -> bool:
    """Whether JSON text is a value a line, whatever the file is called."""
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) > 1 and _is_json(lines[0])


def parse_json_lines(text: str, path: Path) -> list[tuple[int, object]]:
    """The line's number and value for each line that is not blank.

    Raises:
        TextFileError: a line is not JSON.
    """
    # Not splitlines: JSON strings may hold U+2028 and its like, which do not end a line of JSONL.
    return [
        (number, parse_json(line, path, number))
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise TextFileError(f"{path} is a folder; name a file in it")
    if not path.exists():
        raise TextFileError(f"{path}: there is no such file")


def _is_json(line: str) -> bool:
    """Whether a line is a whole object or list."""
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False
