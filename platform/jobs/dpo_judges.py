"""A run keeps its judges: figures of different judges, and trials by them, cannot be compared.

`embedded` is another judge where `PARLEY_DATA` or the extra `embeddings` has changed, and a folder
where it was trained anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from parley.platform.config.dpo import JudgesConfig
from parley.platform.config.errors import ConfigError, display_path
from parley.platform.errors import InputError
from parley.platform.judges.identity import identify_detector
from parley.platform.telemetry.files import atomic_write_text, to_json

JUDGES_FILE = "judges.json"
"""In the run folder: what judge and detector are made of, see `identify_detector`."""


def keep_judges(judges: JudgesConfig, folder: Path) -> None:
    """Note in the run folder which judges a run uses; refuse others when it goes on.

    Raises:
        ConfigError: a judge is not the one that the run began with.
        InputError: a judge's folder is not there, or the note is damaged.
    """
    path = folder / JUDGES_FILE
    noted = _read(path)
    present = {
        "judge": identify_detector(judges.judge, "judge"),
        "detector": identify_detector(judges.detector, "detector"),
    }
    for role, identity in present.items():
        known = noted.get(role)
        if known and identity and known != identity:
            raise ConfigError(
                f"judges.{role} = {getattr(judges, role)} is {identity} now, but the run began "
                f"with {known}: their figures cannot be compared. Bring back what it was made of "
                f"(PARLEY_DATA, the extra `embeddings`, the folder's files), or start a new run"
            )
    whole = {role: noted.get(role) or identity for role, identity in present.items()}
    if whole != noted:
        atomic_write_text(path, to_json(whole, indent=1) + "\n")


def _read(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{display_path(path)} is damaged ({error}); delete it to go on with the present judges"
        ) from error
