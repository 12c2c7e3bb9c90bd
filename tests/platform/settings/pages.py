"""The table of all settings in `docs/reference/`, made from the settings classes.

python -m tests.platform.settings.pages     # writes them anew, between the marks of each page

A section that is the same on several pages stands on the page of shared settings alone.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from parley.platform.settings.experiments import settings_class
from parley.platform.settings.sections import ExperimentConfig, Section

FOLDER = Path(__file__).parents[3] / "docs" / "reference"
MARKS = ("<!-- settings: begin -->", "<!-- settings: end -->")
SHARED = "settings.md"
PAGES = {
    "settings_control.md": (("cartpole", "ppo"), ("cartpole", "imitate")),
    "settings_distort.md": (("dialogue", "ppo"), ("dialogue", "reinforce")),
    "settings_pretrain.md": (("dialogue", "pretrain"),),
    "settings_dpo.md": (("dialogue", "dpo"),),
    "settings_detector.md": (("dialogue", "detector"),),
    "settings_trace.md": (("trace", "next_token"), ("trace", "ppo")),
}
CHOSEN = {"seats": ("NAME",), "sweep.space": ("SECTION", "KEY")}
"""Tables whose keys a person chooses, and what stands for these."""
REMARK = "<whose>"
TABLE_HEAD = ("| key | value | default | meaning |", "| --- | --- | --- | --- |")


def render_pages() -> dict[str, str]:
    """Page -> its table."""
    found = {page: _sections_of(kinds) for page, kinds in PAGES.items()}
    count = Counter(rows for sections in found.values() for rows in sections)
    top = _rows(ExperimentConfig, "", "What every experiment says first", frozenset())
    shared = [top, *(rows for rows in count if count[rows] > 1)]
    pages = {SHARED: "\n".join([*TABLE_HEAD, *shared])}
    for page, sections in found.items():
        own = [rows.replace(REMARK, note) for rows, note in sections.items() if count[rows] == 1]
        pages[page] = "\n".join([*TABLE_HEAD, *own])
    return {page: text.replace(REMARK, "") for page, text in pages.items()}


def write_pages() -> None:
    """Put the tables of every page between its marks."""
    for page, tables in render_pages().items():
        before, rest = (FOLDER / page).read_text(encoding="utf-8").split(MARKS[0])
        text = f"{before}{MARKS[0]}\n{tables}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"
        (FOLDER / page).write_text(text, encoding="utf-8")


def _sections_of(kinds: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The rows of each section of some experiments -> whose it is, where not all have it."""
    found: dict[str, dict[str, type[Section]]] = {}
    for workflow, algorithm in kinds:
        for title, section in _sections(settings_class(workflow, algorithm)):
            found.setdefault(title, {})[algorithm] = section
    told = {}
    for title, having in found.items():
        section = max(having.values(), key=lambda kind: len(kind.model_fields))
        purpose = (inspect.getdoc(section) or "").splitlines()[0].removesuffix(".")
        shared = frozenset() if title else frozenset(_fields(ExperimentConfig))
        if _fields(section).keys() > shared:
            note = f" (`{next(iter(having))}` only)" if len(having) < len(kinds) else ""
            told[_rows(section, title, purpose if title else "What it begins with", shared)] = note
    return told


def _sections(kind: type[Section], title: str = "") -> Iterator[tuple[str, type[Section]]]:
    """The sections of an experiment with their titles, its top level first."""
    if _fields(kind):
        yield title, kind
    for name, field in kind.model_fields.items():
        path = f"{title}.{name}".lstrip(".")
        inner: Any = field.annotation
        for _ in CHOSEN.get(path, ()):
            inner = get_args(inner)[1]
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _sections(inner, ".".join((path, *CHOSEN.get(path, ()))))


def _fields(kind: type[Section]) -> dict[str, FieldInfo]:
    """The settings of a section, without the sections in it."""
    tables = {path.rpartition(".")[2] for path in CHOSEN}
    return {
        name: field
        for name, field in kind.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section))
        and name not in tables
    }


def _rows(kind: type[Section], title: str, purpose: str, leave: Set[str]) -> str:
    """A row that says what the section is, then one for each setting."""
    texts, prefix = _docstrings(kind), f"{title}." if title else ""
    head = f"| **`[{title}]`** |" if title else "| **top level** |"
    rows = [
        f"| `{prefix}{name}` | {_values(field.annotation, field.metadata)} | {_default(field)} "
        f"| {texts.get(name, '')} |"
        for name, field in _fields(kind).items()
        if name not in leave
    ]
    return "\n".join([f"{head} | | {purpose}{REMARK} |", *rows])


def _docstrings(kind: type[Section]) -> dict[str, str]:
    """Name of a setting -> the docstring below it, without its full stop."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not (issubclass(base, Section) and base is not Section):
            continue
        (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(parsed, ast.ClassDef)
        for statement, after in zip(parsed.body, parsed.body[1:], strict=False):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=t)):
                    found[name] = " ".join(str(t).split()).removesuffix(".").replace("|", "\\|")
    return found


def _values(annotation: object, metadata: list[Any]) -> str:
    """What a setting may be, in words."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        if len(kinds) > 1:
            return "any value"
        return _values(kinds[0], metadata)
    if hasattr(annotation, "__metadata__"):
        return _values(get_args(annotation)[0], [*annotation.__metadata__, *metadata])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (tuple, list):
        return "list"
    if get_origin(annotation) is dict:
        return "table"
    words = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}
    return f"{words[annotation]}{_bounds(metadata)}"  # type: ignore[index]


def _bounds(metadata: list[Any]) -> str:
    items = [inner for item in metadata for inner in (item, *getattr(item, "metadata", ()))]
    bounds = [
        f"{sign} {getattr(item, name):g}"
        for item in items
        for name, sign in {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}.items()
        if getattr(item, name, None) is not None
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    match value:
        case None:
            return "absent"
        case bool():
            return f"`{str(value).lower()}`"
        case int():
            return f"{value:,}".replace(",", "_") if value >= 10_000 else str(value)
        case float():
            return f"{value:g}"
        case str():
            return f'`"{value}"`'
        case tuple() | list():
            return f"`{[*value]}`".replace("'", '"')
        case _:
            return "`{}`" if not value else "`{…}`"


if __name__ == "__main__":
    write_pages()
