"""The table of all token languages; a new one is one file and one row here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parley.envs.trace.language import Language

Option = str | bool | int | float


@dataclass(frozen=True)
class LanguageEntry:
    """One row of `LANGUAGES`; the class is named, not imported."""

    name: str
    summary: str
    entry_point: str
    """"module:Class" of a `Language` whose arguments all have defaults."""

    def load(self) -> type[Language]:
        """Import and return the class of `entry_point`."""
        module, _, name = self.entry_point.partition(":")
        loaded: type[Language] = getattr(importlib.import_module(module), name)
        return loaded


LANGUAGES: dict[str, LanguageEntry] = {
    entry.name: entry
    for entry in (
        LanguageEntry(
            "addition",
            "two numbers, digit by digit, with the carries written out",
            "parley.envs.trace.addition:Addition",
        ),
        LanguageEntry(
            "sorting",
            "bubble sort, with the array written after every decision",
            "parley.envs.trace.sorting:Sorting",
        ),
        LanguageEntry(
            "parity",
            "is the number of ones so far even or odd?",
            "parley.envs.trace.tracking:Parity",
        ),
        LanguageEntry(
            "counter",
            "a counter that wraps around: where does it stand?",
            "parley.envs.trace.tracking:Counter",
        ),
        LanguageEntry(
            "shell_game",
            "cups change places in pairs: under which is the ball?",
            "parley.envs.trace.tracking:ShellGame",
        ),
        LanguageEntry(
            "markov",
            "a Markov chain whose states are the tokens",
            "parley.envs.trace.markov:Markov",
        ),
        LanguageEntry(
            "hidden_markov",
            "symbols of a Markov chain whose states are hidden",
            "parley.envs.trace.hidden_markov:HiddenMarkov",
        ),
        LanguageEntry(
            "cartpole",
            "episodes of an expert on quantised CartPole",
            "parley.envs.trace.cartpole:CartPole",
        ),
    )
}


def build_language(name: str, options: Mapping[str, Option] | None = None) -> Language:
    """The language of row `name`, with `options` as arguments of its class.

    Raises:
        ValueError: an unknown name or option, or an option of the wrong type or outside its
            range; the message lists what there is.
    """
    if name not in LANGUAGES:
        raise ValueError(f"there is no language {name!r}; there are {', '.join(LANGUAGES)}")
    defaults = option_defaults(name)
    for key, value in (options or {}).items():
        if key not in defaults:
            known = ", ".join(f"{k} = {d!r}" for k, d in defaults.items()) or "none"
            raise ValueError(f"{name} has no option {key!r}; its options are: {known}")
        if not _fits(value, defaults[key]):
            raise ValueError(
                f"option {key!r} of {name} must be of type {type(defaults[key]).__name__}, "
                f"as its default {defaults[key]!r}; got {value!r}"
            )
    return LANGUAGES[name].load()(**(options or {}))


def option_defaults(name: object) -> dict[str, Option]:
    """The options of row `name` with their defaults; empty where there is no such row."""
    if name not in LANGUAGES:
        return {}
    parameters = inspect.signature(LANGUAGES[str(name)].load()).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def _fits(value: object, default: Any) -> bool:
    """Whether `value` is of the default's type; an int also serves as a float."""
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
