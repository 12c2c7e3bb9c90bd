"""`parley list`: what can be trained, on what, with what and how; names as they can be passed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

from parley.envs import ENVIRONMENTS
from parley.envs.trace.languages import LANGUAGES
from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE
from parley.platform.settings.experiments import EXPERIMENTS, choices_of
from parley.platform.settings.packaged import packaged_tables
from parley.policies.token.table import POLICIES

Table = Mapping[str, object]
"""An experiment's file."""
MODELS = {
    "auto": "DialoGPT-small where it has been downloaded, else parley-tiny",
    "parley-tiny": "a small GPT-2 that parley trains on first use, where no weights can be had",
    "FOLDER|NAME": "any causal language model: a run of parley, a folder, a downloaded one by name",
}
"""What may sit in a seat of a dialogue, or be tuned."""


def run_list(arguments: argparse.Namespace) -> int:
    """Print the tables, a name and a summary on each line."""
    experiments = packaged_tables()
    policies = {name: entry.summary for name, entry in POLICIES.items()}
    algorithms = {algorithm: row.summary for (_, algorithm), row in EXPERIMENTS.items()}
    print("experiments")
    width = max(map(len, experiments))
    for name, table in experiments.items():
        print(f"  {name:<{width}}  {table.get('summary', '')}")
        for key, values in _choices(table).items():
            print(f"    {key}={'|'.join(values)}")
    tables = {
        "environments": {name: entry.summary for name, entry in ENVIRONMENTS.items()},
        "token languages": {name: entry.summary for name, entry in LANGUAGES.items()},
        "models": MODELS,
        "policies": _with_experiments(policies, "policy", experiments),
        "algorithms": _with_experiments(algorithms, "algorithm", experiments),
    }
    for title, rows in tables.items():
        print(title)
        print_rows(list(rows.items()), indent="  ")
    return EXIT_DONE


def _choices(table: Table) -> Mapping[str, tuple[str, ...]]:
    """Setting -> what it may be."""
    return choices_of(str(table["workflow"]), str(table["algorithm"]))


def _with_experiments(
    summaries: dict[str, str], key: str, experiments: Mapping[str, Table]
) -> dict[str, str]:
    """The summaries, with the experiments that accept the name."""
    accepted = {name: _accepted(key, table) for name, table in experiments.items()}
    accepting = {
        name: [experiment for experiment, names in accepted.items() if name in names]
        for name in summaries
    }
    return {
        name: f"{summary} ({', '.join(_shorten(accepting[name], experiments))})"
        for name, summary in summaries.items()
    }


def _accepted(key: str, table: Table) -> tuple[str, ...]:
    """What a setting may be; what stands in the file where there is nothing to choose."""
    return _choices(table).get(key, (str(table.get(key, "")),))


def _shorten(accepting: list[str], known: Iterable[str]) -> list[str]:
    """The same, `trace/*` standing for all experiments of that folder where they are several."""
    folders: dict[str, list[str]] = {}
    for name in known:
        folders.setdefault(name.split("/")[0], []).append(name)
    whole = [key for key, names in folders.items() if len(names) > 1 and {*names} <= {*accepting}]
    rest = [name for name in accepting if name.split("/")[0] not in whole]
    return [*rest, *(f"{folder}/*" for folder in whole)]
