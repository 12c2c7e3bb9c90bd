"""What a RUN|CHECKPOINT argument points at."""

from __future__ import annotations

import json
from pathlib import Path

from parley.platform.errors import InputError, display_path
from parley.platform.runs.run_folder import CONFIG_FILE
from parley.platform.settings.dispatch import WORKFLOWS
from parley.platform.settings.loading import read_experiment_file

FACTS_FILE = "policy.json"
CHECKPOINT_FILES = ("manifest.json", "config.json")
"""What marks a checkpoint: its list of files, or the transformers configuration of its policy."""


def workflow_at(path: Path) -> str:
    """The workflow of a run folder, or of a checkpoint inside one.

    A checkpoint that was copied out of its run says it itself; one that does not is taken as one of
    the first row of `WORKFLOWS`.

    Raises:
        InputError: there is no such folder, or it is neither a run nor a checkpoint.
    """
    if not path.is_dir():
        raise InputError(f"no run or checkpoint folder {display_path(path)}")
    for folder in (path, *list(path.resolve().parents)[:2]):
        if (folder / CONFIG_FILE).is_file():
            return str(read_experiment_file(folder / CONFIG_FILE).table.get("workflow", ""))
    if any((path / name).is_file() for name in CHECKPOINT_FILES):
        return _stated_workflow(path) or next(iter(WORKFLOWS))
    raise InputError(
        f"{display_path(path)} is neither a run folder (with {CONFIG_FILE}) nor a checkpoint "
        f"(with {' or '.join(CHECKPOINT_FILES)}); give a folder that `parley train` wrote"
    )


def _stated_workflow(path: Path) -> str | None:
    """What a checkpoint's `policy.json` says, where it stands there and is sound."""
    try:
        facts = json.loads((path / FACTS_FILE).read_text(encoding="utf-8"))
        workflow = facts.get("workflow")
    except (OSError, ValueError, AttributeError):
        return None
    return workflow if workflow in WORKFLOWS else None
