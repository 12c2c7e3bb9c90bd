"""From an experiment's name or file and overrides to checked settings, and back to TOML."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar, cast

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from parley.platform.errors import display_path
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.experiments import EXPERIMENTS, settings_class
from parley.platform.settings.keys import TomlTable, apply_override, field_types, find_line, is_key
from parley.platform.settings.packaged import EXPERIMENTS_DIR, packaged_files
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.settings.spelling import nearest
from parley.platform.settings.unread import explain_unread, refuse_unread

AnyConfig = TypeVar("AnyConfig", bound=ExperimentConfig)


@dataclass(frozen=True)
class ExperimentFile:
    """A parsed experiment file and where its values came from, for error messages."""

    path: Path
    name: str
    text: str
    table: TomlTable

    def place(self, key: str) -> str:
        """`file:line` of a dotted key; the file alone where it is not set there."""
        line = find_line(self.text, key)
        return display_path(self.path) + (f":{line}" if line else "")


@dataclass(frozen=True)
class Change:
    """One `key=value` on top of the settings, and how an error names where it comes from."""

    text: str
    origin: str
    by_hand: bool = False
    """Whether a person asked for it, and no file."""

    @classmethod
    def by_override(cls, text: str) -> Self:
        """What was written on the command line."""
        return cls(text, f"override {text}", by_hand=True)


def load_experiment(
    name_or_path: str | Path,
    overrides: Sequence[str] = (),
    quick: bool = False,
    allow_unread: bool = False,
) -> ExperimentConfig:
    """Read an experiment, apply its `[quick]` table if asked, then the overrides, and check it.

    Args:
        name_or_path: a name below `tune_configs/` such as `cartpole/ppo`, or a TOML file.
        overrides: `key=value`, the key dotted (`ppo.clip=0.1`) or an unambiguous last part.
        quick: the same path at about a tenth of the work, as the file's `[quick]` table says.
        allow_unread: whether overrides and the file may set what nothing reads, as older runs do.

    Raises:
        ConfigError: with file, line and key, what is wrong and what to write instead.
    """
    file = read_experiment_file(name_or_path)
    kind = _find_kind(file)
    table = {key: value for key, value in file.table.items() if key != "quick"}
    table.setdefault("experiment", file.name)
    quick_changes = _quick_changes(file, kind)
    own = [*map(Change.by_override, overrides)]
    config = _validate(kind, table, file, [*(quick_changes if quick else ()), *own])
    if not allow_unread:
        refuse_unread(config, _unread_in_file(config, file))
        refuse_unread(config, {apply_override(table, item.text, kind): item.origin for item in own})
    return config


def replace_overrides(config: AnyConfig, overrides: Sequence[str]) -> AnyConfig:
    """A copy of checked settings with `key=value` overrides applied and checked again."""
    kind = type(config)
    table = config.model_dump(exclude_none=True)
    return _validate(kind, table, None, [*map(Change.by_override, overrides)])


def override_values(config: ExperimentConfig, overrides: Sequence[str]) -> dict[str, object]:
    """Dotted key -> value of `key=value` overrides, whether they change the settings or not."""
    table = config.model_dump(exclude_none=True)
    keys = [apply_override(table, text, type(config)) for text in overrides]
    changed = replace_overrides(config, overrides)
    return {key: setting_at(changed, key) for key in keys}


def quick_overrides(name_or_path: str | Path) -> list[str]:
    """What `quick` changes in an experiment, as `key=value` overrides."""
    file = read_experiment_file(name_or_path)
    return [change.text for change in _quick_changes(file, _find_kind(file))]


def changed_keys(before: ExperimentConfig, after: ExperimentConfig) -> list[str]:
    """Dotted keys whose values differ between two settings of the same class."""
    first, second = before.model_dump(), after.model_dump()
    return [
        key
        for key in field_types(type(before), first)
        if _value_at(first, key) != _value_at(second, key)
    ]


def setting_at(config: ExperimentConfig, key: str) -> object:
    """The value of a dotted key."""
    return _value_at(config.model_dump(), key)


def to_override(key: str, value: object) -> str:
    """`key=value` of a plain value; None is the `none` that takes an optional setting away."""
    plain = str(value) if isinstance(value, Path) else value
    try:
        return f"{key}={'none' if plain is None else _toml_value(plain)}"
    except TypeError as error:
        raise ConfigError(f"{key} = {value!r}: no value of a setting ({error})") from error


def to_toml(config: ExperimentConfig) -> str:
    """The resolved settings as TOML; loading it gives an equal configuration."""
    return tomli_w.dumps(config.model_dump(exclude_none=True))


def read_experiment_file(name_or_path: str | Path) -> ExperimentFile:
    """Find and parse an experiment's TOML; see `load_experiment` for its argument."""
    path, name = _locate(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        return ExperimentFile(path, name, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{display_path(path)}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{display_path(path)}: cannot be read: {error}") from error


def _unread_in_file(config: ExperimentConfig, file: ExperimentFile) -> dict[str, str]:
    """Settings of a file that nothing reads, unless they are as the package gives them -> place."""
    if file.path.is_relative_to(EXPERIMENTS_DIR):
        return {}
    own = {key: value for key, value in file.table.items() if key != "quick"}
    return {
        key: file.place(key)
        for key, value in _flatten(own).items()
        if explain_unread(config, key) and value not in _packaged_values(type(config), key)
    }


def _packaged_values(kind: type[ExperimentConfig], key: str) -> list[object]:
    """What a setting is by default, and in the files that come with the package."""
    files = [read_experiment_file(path) for path in packaged_files().values()]
    tables = [file.table for file in files if _find_kind(file) is kind]
    quick = [cast("Mapping[str, object]", table.get("quick", {})) for table in tables]
    flat = [_flatten(table) for table in (kind.model_validate({}).model_dump(), *tables, *quick)]
    return [table[key] for table in flat if key in table]


def _locate(name_or_path: str | Path) -> tuple[Path, str]:
    """The experiment's file and the name under which its runs are filed."""
    given = str(name_or_path)
    packaged = packaged_files()
    if given in packaged:
        return packaged[given], given
    path = Path(given)
    if path.suffix == ".toml":
        if path.is_file():
            return path, path.stem
        raise ConfigError(f"no file {given}; experiments by name: {', '.join(packaged)}")
    raise ConfigError(
        f"unknown experiment {given!r}{nearest(given, packaged)}; known are "
        f"{', '.join(packaged)}, or give a path that ends in .toml"
    )


def _find_kind(file: ExperimentFile) -> type[ExperimentConfig]:
    chosen = (file.table.get("workflow"), file.table.get("algorithm"))
    kinds = ", ".join(f'workflow = "{w}", algorithm = "{a}"' for w, a in EXPERIMENTS)
    for key, value in zip(("workflow", "algorithm"), chosen, strict=True):
        if value is None:
            raise ConfigError(
                f"{file.place(key)}: {key} is missing; begin the file with one of: {kinds}"
            )
    if chosen not in EXPERIMENTS:
        raise ConfigError(
            f"{file.place('algorithm')}: no workflow {chosen[0]!r} with algorithm "
            f"{chosen[1]!r}; write one of: {kinds}"
        )
    return settings_class(*chosen)


def _quick_changes(file: ExperimentFile, kind: type[ExperimentConfig]) -> list[Change]:
    """The `[quick]` table, its keys checked."""
    quick_table = file.table.get("quick", {})
    if not isinstance(quick_table, dict):
        raise ConfigError(f"{file.place('quick')}: quick must be a table: [quick]")
    types = field_types(kind, file.table)
    flat = _flatten(quick_table)
    for key in flat:
        if not is_key(key, types):
            raise ConfigError(
                f"{file.place(f'quick.{key}')}: quick.{key}: unknown key{nearest(key, types)}"
            )
    return [
        Change(f"{key}={_toml_value(value)}", file.place(f"quick.{key}"))
        for key, value in flat.items()
    ]


def _flatten(table: Mapping[str, object], prefix: str = "") -> TomlTable:
    """A nested table by dotted keys."""
    flat: TomlTable = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _toml_value(value: object) -> str:
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def _value_at(table: Mapping[str, object], key: str) -> object:
    value: object = table
    for part in key.split("."):
        value = cast("Mapping[str, object]", value)[part]
    return value


def _validate(
    kind: type[AnyConfig],
    base: TomlTable,
    file: ExperimentFile | None,
    changes: Sequence[Change],
) -> AnyConfig:
    table, counted = _apply(kind, base, changes)
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            key = _key(detail)
            if detail["type"] == "conflict":
                place = _blame(kind, base, [*counted.values()], key)
            else:
                place = next((counted[k].origin for k in _with_parents(key) if k in counted), "")
            place = place or (file.place(key) if file else "configuration")
            lines.append(f"{place}: {_explain(detail, key, kind)}")
        raise ConfigError("\n".join(lines)) from error


def _apply(
    kind: type[ExperimentConfig], base: TomlTable, changes: Sequence[Change]
) -> tuple[TomlTable, dict[str, Change]]:
    """The changed table, and which change decides each dotted key: of two the last."""
    table = copy.deepcopy(base)
    counted = {apply_override(table, change.text, kind): change for change in changes}
    chosen = {key for key, change in counted.items() if change.by_hand}
    return kind.follow_choices(base, table, chosen), counted


def _blame(
    kind: type[ExperimentConfig], base: TomlTable, changes: Sequence[Change], key: str
) -> str:
    """The changes without which there would be no conflict at `key`; empty: there always is one."""
    if key in _conflicts(kind, base, ()):
        return ""
    each = [
        change.origin
        for index, change in enumerate(changes)
        if key not in _conflicts(kind, base, [*changes[:index], *changes[index + 1 :]])
    ]
    return " and ".join(each or [change.origin for change in changes])


def _conflicts(
    kind: type[ExperimentConfig], base: TomlTable, changes: Sequence[Change]
) -> set[str]:
    """The keys at which settings cannot stand together."""
    table = _apply(kind, base, changes)[0]
    try:
        kind.model_validate(table)
    except ValidationError as error:
        return {_key(detail) for detail in error.errors() if detail["type"] == "conflict"}
    return set()


def _key(detail: ErrorDetails) -> str:
    """The dotted key that an error of pydantic is about."""
    stated = detail.get("ctx", {}).get("key", "")
    return str(stated) or ".".join(str(part) for part in detail["loc"])


def _with_parents(key: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`: an item of a list was set where the list was."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def _explain(detail: ErrorDetails, key: str, kind: type[ExperimentConfig]) -> str:
    """Key and value, what is wrong, what to write instead."""
    if detail["type"] == "conflict":
        return detail["msg"]
    if detail["type"] == "extra_forbidden":
        known = ["quick", *kind.model_fields, *field_types(kind)]
        return f"unknown key {key}{nearest(key, known)}"
    context, value = detail.get("ctx", {}), detail["input"]
    wanted = _WANTED.get(detail["type"], "")
    reason = f"must be {wanted.format(**context)}" if wanted else detail["msg"]
    choices = re.findall("'([^']*)'", str(context.get("expected", "")))
    return f"{key} = {value!r}: {reason}{nearest(str(value), choices)}"


_WANTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "greater than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string in quotes",
    "finite_number": "a finite number",
    "literal_error": "one of {expected}",
    "list_type": "a list in brackets",
    "model_type": "a table",
    "string_pattern_mismatch": "made of letters, digits, '.', '_', '-' and '/'",
}
"""pydantic's error types -> what a value must be, in the words of a person."""
