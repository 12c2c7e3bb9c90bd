"""Which function serves which workflow, by name, so that nothing heavy is imported early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from parley.platform.errors import InputError
from parley.platform.terminal.interpreter import importing


@dataclass(frozen=True)
class WorkflowFunctions:
    """`module:function` of what a workflow can do."""

    train: str
    evaluate: str
    watch: str
    evaluates_data: bool = False
    """Whether `evaluate` may be given a file to measure on."""
    names_inputs: bool = False
    """Whether figures come from models and data outside of the run, whose places may be given."""
    watched: str = "episode"
    """What `watch` writes into a file, in a word."""
    watch_options: frozenset[str] = frozenset()
    """Flags of `parley watch`, by the names of the function's arguments, that it understands."""
    chat: str | None = None
    """None where the agents do not speak to people."""
    tune: str | None = None
    """None where no experiment has settings to search."""
    report: str = "parley.platform.report.report:write_report"


WORKFLOWS = {
    "cartpole": WorkflowFunctions(
        train="parley.platform.commands.running:train_experiment",
        evaluate="parley.platform.control.evaluation:evaluate_path",
        watch="parley.platform.control.watch:watch_path",
    ),
    "dialogue": WorkflowFunctions(
        train="parley.platform.commands.running:train_experiment",
        tune="parley.platform.commands.tuning:tune_experiment",
        evaluate="parley.platform.commands.dialogue_runs:evaluate_path",
        evaluates_data=True,
        names_inputs=True,
        watch="parley.platform.distort.viewing.watch:watch_path",
        watched="transcripts",
        watch_options=frozenset({"iteration", "show_all", "follow"}),
        chat="parley.platform.language.chat:chat_path",
    ),
    "trace": WorkflowFunctions(
        train="parley.platform.commands.running:train_experiment",
        evaluate="parley.platform.trace.evaluation.measure:evaluate_path",
        watch="parley.platform.trace.viewing.watch:watch_path",
        watched="trace",
        watch_options=frozenset({"size"}),
    ),
}
"""Workflow of an experiment -> its functions; a new workflow is a row here."""


def functions_of(workflow: str) -> WorkflowFunctions:
    """The row of `workflow`.

    Raises:
        InputError: there is no such row.
    """
    if workflow not in WORKFLOWS:
        raise InputError(f"unknown workflow {workflow!r}; known are {', '.join(sorted(WORKFLOWS))}")
    return WORKFLOWS[workflow]


def load_function(name: str) -> Callable[..., object]:
    """Import the function that `module:function` names."""
    module, _, function = name.partition(":")
    with importing():
        return cast("Callable[..., object]", getattr(import_module(module), function))
