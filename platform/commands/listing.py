"""`parley list`: what can be trained, on what, with what and how."""

from __future__ import annotations

import argparse

from parley.envs import ENVIRONMENTS
from parley.envs.trace.languages import LANGUAGES
from parley.platform.commands.tables import print_rows
from parley.platform.config.loading import list_experiments
from parley.platform.config.tables import ALGORITHMS, DIALOGUE_MODELS, POLICIES
from parley.platform.errors import EXIT_DONE


def run_list(arguments: argparse.Namespace) -> int:
    """Print the tables, a name and a summary on each line."""
    environments = {name: entry.summary for name, entry in ENVIRONMENTS.items()}
    tables = {
        "experiments": list_experiments(),
        "environments": environments,
        "token languages": {name: entry.summary for name, entry in LANGUAGES.items()},
        "policies": {**DIALOGUE_MODELS, **POLICIES},
        "algorithms": ALGORITHMS,
    }
    for title, table in tables.items():
        print(title)
        print_rows(list(table.items()), indent="  ")
    return EXIT_DONE
