"""`parley chat`: talk to an agent of a run, at the terminal or through a pipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.runs.kinds import experiment_at
from parley.platform.settings.experiments import EXPERIMENTS, load_function

ChatFunction = Callable[[Path, str | None, int, float | None, Sequence[str]], None]
"""(run or checkpoint, seat or None, seed, temperature or None, overrides): talks until the input
ends."""


def run_chat(arguments: argparse.Namespace) -> int:
    """Hold the conversation.

    Raises:
        InputError: the agents at `arguments.path` do not speak to people.
    """
    (workflow, _), row = experiment_at(arguments.path)
    if row.chat is None:
        speaking = sorted({own for (own, _), entry in EXPERIMENTS.items() if entry.chat})
        raise InputError(
            f"{display_path(arguments.path)} is a run of {workflow}, whose agents do not talk; "
            f"name a run of {' or '.join(speaking) or 'another workflow'}"
        )
    talk = cast("ChatFunction", load_function(row.chat))
    talk(
        arguments.path,
        arguments.seat,
        arguments.seed,
        arguments.temperature,
        arguments.overrides,
    )
    return EXIT_DONE
