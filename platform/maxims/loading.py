"""From a judge's name in the settings, or on the command line, to a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from parley.envs.dialogue.conversations import Conversation
from parley.platform.errors import InputError
from parley.platform.maxims.detector.embedded import embedded_detector
from parley.platform.maxims.detector.feature_detector import DETECTOR_FILE, FeatureDetector
from parley.platform.maxims.interface import JUDGE_FILE, Detector

EMBEDDED_NAME = "embedded"
Role = Literal["detector", "judge"]
Log = Callable[[str], None]


def load_detector(name: str, role: Role, log: Log, talks: Sequence[Conversation] = ()) -> Detector:
    """The detector of this name.

    Args:
        name: `embedded`, which is built on first use; a folder that `parley train
            dialogue/detector` wrote (the run, or the detector inside it); the folder of a judge
            that was built before; else the folder or the Hugging Face name of a transformers
            sequence classifier.
        role: what `embedded` means: the detector of the pipeline, or the second judge, which
            differs from it in kind.
        log: is told what takes time, a line each.
        talks: conversations of the kind that is to be judged, for the embedded judge to learn from.

    Raises:
        InputError: there is no such detector, or it cannot be read.
    """
    if name == EMBEDDED_NAME:
        if role == "detector":
            return FeatureDetector.load(embedded_detector())
        from parley.platform.maxims.judge.building import embedded_judge

        return embedded_judge(log, talks=talks)
    folder = find_detector_folder(Path(name))
    if folder is not None:
        return FeatureDetector.load(folder)
    if (Path(name) / JUDGE_FILE).is_file():
        from parley.platform.maxims.judge.judge import load_judge

        return load_judge(Path(name))
    check_folder(name)
    from parley.platform.maxims.detector.classifier import ClassifierDetector

    return ClassifierDetector.load(name, log)


def check_folder(name: str) -> None:
    """Refuse a name that can only be a folder, where there is none.

    Raises:
        InputError: always then.
    """
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise InputError(
            f"no detector folder {name}; write `{EMBEDDED_NAME}`, a run of dialogue/detector, or a "
            f"sequence classifier"
        )


def find_detector_folder(path: Path) -> Path | None:
    """The folder of the detector at or in `path`: the newest checkpoint of a run; None if none."""
    if not path.is_dir():
        return None
    found = [path, *sorted(path.glob("checkpoints/*/policies/detector"), reverse=True)]
    found.append(path / "policies" / "detector")
    return next((folder for folder in found if (folder / DETECTOR_FILE).is_file()), None)
