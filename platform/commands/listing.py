"""`parley list`: what can be trained, on what, with what and how; names as they can be passed."""

from __future__ import annotations

import argparse
from typing import get_args

from parley.envs import ENVIRONMENTS
from parley.envs.trace.languages import LANGUAGES
from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.keys import field_types, short_keys
from parley.platform.settings.loading import list_experiments, load_experiment
from parley.platform.settings.tables import ALGORITHMS, MODELS, POLICIES

CHOSEN_KEYS = ("policy", "algorithm")
LANGUAGE_OVERRIDE = "language={}"


def run_list(arguments: argparse.Namespace) -> int:
    """Print the tables, a name and a summary on each line."""
    choices = {name: choices_of(name) for name in list_experiments()}
    environments = {name: entry.summary for name, entry in ENVIRONMENTS.items()}
    print("experiments")
    width = max(map(len, choices))
    for name, summary in list_experiments().items():
        print(f"  {name:<{width}}  {summary}")
        for line in _describe(name, choices[name]):
            print(f"    {line}")
    tables = {
        "environments": environments,
        "token languages": {name: entry.summary for name, entry in LANGUAGES.items()},
        "models": MODELS,
        "policies": _with_experiments(POLICIES, "policy", choices),
        "algorithms": _with_experiments(ALGORITHMS, "algorithm", choices),
    }
    for title, table in tables.items():
        print(title)
        print_rows(list(table.items()), indent="  ")
    return EXIT_DONE


def choices_of(experiment: str) -> dict[str, list[str]]:
    """Key -> the values that the experiment accepts for it, with nothing else changed."""
    config = load_experiment(experiment)
    fields = type(config).model_fields
    values = {key: get_args(fields[key].annotation) for key in CHOSEN_KEYS if key in fields}
    return {
        key: [value for value in given if _is_accepted(experiment, f"{key}={value}")]
        for key, given in values.items()
    }


def languages_of(experiment: str) -> list[str]:
    """The token languages that the experiment accepts by `LANGUAGE_OVERRIDE`."""
    if "language" not in type(load_experiment(experiment)).model_fields:
        return []
    return [
        language
        for language in LANGUAGES
        if _is_accepted(experiment, LANGUAGE_OVERRIDE.format(language))
    ]


def _describe(experiment: str, choices: dict[str, list[str]]) -> list[str]:
    """What may be chosen, a line each; for MODEL stands one of the table of models."""
    config = load_experiment(experiment)
    table = config.model_dump(exclude_none=True)
    short = {key: name for name, key in short_keys(type(config), table).items()}
    keys = [key for key in field_types(type(config), table) if key.rpartition(".")[2] == "model"]
    lines = [f"{key}={'|'.join(values)}" for key, values in choices.items() if len(values) > 1]
    lines += [f"{short.get(key, key)}=MODEL" for key in keys]
    if languages := languages_of(experiment):
        lines.append(LANGUAGE_OVERRIDE.format("|".join(languages)))
    return lines


def _with_experiments(
    table: dict[str, str], key: str, choices: dict[str, dict[str, list[str]]]
) -> dict[str, str]:
    """The summaries, with the experiments that accept the name."""
    accepting = {
        name: [experiment for experiment in choices if name in choices[experiment].get(key, ())]
        for name in table
    }
    return {
        name: f"{summary} ({', '.join(_shorten(accepting[name], [*choices]))})"
        for name, summary in table.items()
    }


def _shorten(experiments: list[str], known: list[str]) -> list[str]:
    """The same, `trace/*` standing for all experiments of that folder where they are several."""
    folders: dict[str, list[str]] = {}
    for name in known:
        folders.setdefault(name.split("/")[0], []).append(name)
    whole = [key for key, names in folders.items() if len(names) > 1 and {*names} <= {*experiments}]
    rest = [name for name in experiments if name.split("/")[0] not in whole]
    return [*rest, *(f"{folder}/*" for folder in whole)]


def _is_accepted(experiment: str, *overrides: str) -> bool:
    try:
        load_experiment(experiment, overrides)
    except ConfigError:
        return False
    return True
