"""The dotted keys of a settings class, and `key=value` overrides resolved against them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import cast, get_args, get_origin

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import ExperimentConfig, Section
from parley.platform.settings.spelling import nearest

TomlTable = dict[str, object]


def field_types(
    kind: type[Section], table: Mapping[str, object] | None = None, prefix: str = ""
) -> dict[str, object]:
    """Dotted key -> annotation of every setting below `kind`; sections are opened, not listed.

    A table of sections by name (such as `seats`) is opened at the names that stand in `table`,
    else at those of its default.
    """
    types: dict[str, object] = {}
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        given = (table or {}).get(name, default)
        types.update(_open_field(field.annotation, given, prefix + name))
    return types


def short_keys(kind: type[Section], table: Mapping[str, object]) -> dict[str, str]:
    """Names of sections -> the key that they stand for where the section has one."""
    keys: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        if (short := getattr(field.annotation, "SHORT_KEY", None)) is not None:
            keys[name] = f"{name}.{short}"
        elif (short := getattr(_named_value(field.annotation), "SHORT_KEY", None)) is not None:
            given = table.get(name, field.get_default(call_default_factory=True))
            keys.update({item: f"{name}.{item}.{short}" for item in _names(given)})
    return keys


def _open_field(annotation: object, given: object, path: str) -> dict[str, object]:
    """The settings at `path`: one, those of a section, or those of each section in a table."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        table = given if isinstance(given, Mapping) else None
        return field_types(annotation, table, f"{path}.")
    if (inner := _named_value(annotation)) is None:
        return {path: annotation}
    types: dict[str, object] = {}
    for item in _names(given):
        value = cast("Mapping[str, object]", given)[item]
        types.update(_open_field(inner, value, f"{path}.{item}"))
    return types


def _named_value(annotation: object) -> object:
    """What a table of sections by name holds: the section, or another such table; else None."""
    arguments = get_args(annotation)
    if get_origin(annotation) is not dict:
        return None
    inner = arguments[1]
    is_section = isinstance(inner, type) and issubclass(inner, Section)
    return inner if is_section or _named_value(inner) is not None else None


def _names(given: object) -> list[str]:
    return [str(item) for item in given] if isinstance(given, Mapping) else []


def apply_override(table: TomlTable, override: str, kind: type[ExperimentConfig]) -> str:
    """Write one `key=value` into the nested TOML `table`; the value `none` removes an option.

    Returns the dotted key. Raises ConfigError for a key that is unknown, ambiguous or a section.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"override {override!r} is not of the form key=value; write for example "
            f"ppo.learning_rate=3e-4 or seed=1"
        )
    types = {**field_types(kind, table), **kind.open_keys()}
    key = key.strip()
    short = short_keys(kind, table)
    path = find_key(short.get(key, key), types, override, short)
    annotation = types[path] if path in types else _entry_value(path, types)
    *sections, leaf = path.split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override}: {section} is not a table in the file")
        table = inner
    value = parse_value(text.strip(), annotation)
    if value is None:
        table.pop(leaf, None)
    else:
        table[leaf] = value
    return path


def find_key(
    key: str, types: Mapping[str, object], override: str, short: Iterable[str] = ()
) -> str:
    """The dotted key that `key` names: itself, or the only one that ends in it.

    Args:
        key: as it was written.
        types: the settings that there are.
        override: what it stands in, for messages.
        short: further names that may be written.

    Raises:
        ConfigError: it names none, several, or a section.
    """
    if is_key(key, types):
        return key
    below = [path for path in types if path.startswith(f"{key}.")]
    if below:
        raise ConfigError(
            f"override {override}: {key} is a section; name one of its keys: {', '.join(below)}"
        )
    matches = [path for path in types if path.endswith(f".{key}")]
    if len(matches) > 1:
        raise ConfigError(
            f"override {override}: {key} is ambiguous; write one of {', '.join(matches)}"
        )
    if not matches:
        sections = dict.fromkeys(path.partition(".")[0] for path in types)
        advice = nearest(key, [*types, *short]) or f"; at the top there are {', '.join(sections)}"
        raise ConfigError(f"override {override}: unknown key {key}{advice}")
    return matches[0]


def _entry_value(key: str, types: Mapping[str, object]) -> object:
    """What `key` holds where it is an entry of a table of plain values; None: it is none."""
    table = types.get(key.rpartition(".")[0])
    return get_args(table)[1] if get_origin(table) is dict else None


def is_key(key: str, types: Mapping[str, object]) -> bool:
    """Whether `key` is a setting, or an entry of a setting that is a table of plain values."""
    return key in types or _entry_value(key, types) is not None


def parse_value(text: str, annotation: object) -> object:
    """The TOML value in `text`, else the bare string; None for `none` where a key is optional."""
    if annotation is str:
        quoted = _parse_toml(text)
        return quoted if isinstance(quoted, str) else text
    if text == "none" and NoneType in get_args(annotation):
        return None
    return _parse_toml(text)


def _parse_toml(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def find_line(toml_text: str, key: str) -> int | None:
    """The line, from 1, on which the dotted `key` is set; else that of its nearest table."""
    section, found = "", None
    for number, line in enumerate(toml_text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[]").split("]")[0].strip()
            here = section
        else:
            name = stripped.partition("=")[0].strip().replace('"', "").replace(" ", "")
            here = f"{section}.{name}" if section else name
        if here == key:
            return number
        if stripped.startswith("[") and key.startswith(f"{here}."):
            found = number
    return found
