"""From a judge's name in the settings, or on the command line, to a detector."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from parley.envs.dialogue.conversations import Conversation
from parley.platform.errors import InputError, display_path
from parley.platform.maxims.detector.feature_detector import DETECTOR_FILE, FeatureDetector
from parley.platform.maxims.detector_settings import (
    DetectorDataConfig,
    DetectorModelConfig,
    DialogueDetectorConfig,
)
from parley.platform.maxims.interface import Detector
from parley.platform.runs.cache_folder import build_once, cache_root, find_damage
from parley.platform.runs.files import to_json
from parley.platform.terminal.progress import shown

EMBEDDED_NAME = "embedded"
JUDGE_FILE = "judge.json"
"""What marks the folder of a judge, see `fitted_judge`."""
DATA_VARIABLE = "PARLEY_DATA"
"""Folder with `gricebench/` and `topical_chat/`, from which the embedded detector learns where it
is set."""
LABELLED_FILES = tuple(
    f"gricebench/{name}.json"
    for name in ("detector_labelled", "detector_gold", "detector_weak", "repair_pairs")
)
CONVERSATIONS_FOLDER = "topical_chat"
RECIPE_VERSION = 2
"""Raised when features or training change what comes out of the same settings and data."""
EMBEDDED_SEED = 1_000_003
"""Of the generated small talk: other dialogues than those that pairs are generated from."""
SMALL_TALK_INJECTIONS, SMALL_TALK_TURNS, SMALL_TALK_FOLDS = 300, 3_000, 3
"""Small talk is one kind of text: less of it does, and a first use should not take long."""

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


def embedded_config() -> DialogueDetectorConfig:
    """What the embedded detector learns from: the files below `PARLEY_DATA`, else small talk.

    Raises:
        InputError: `PARLEY_DATA` names a folder without any of the files.
    """
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        data = DetectorDataConfig(injections=SMALL_TALK_INJECTIONS, clean_turns=SMALL_TALK_TURNS)
        model = DetectorModelConfig(folds=SMALL_TALK_FOLDS)
        return DialogueDetectorConfig(seed=EMBEDDED_SEED, data=data, model=model)
    labelled = [str(path) for name in LABELLED_FILES if (path := Path(root, name)).is_file()]
    talks = Path(root, CONVERSATIONS_FOLDER)
    if not labelled and not talks.is_dir():
        raise InputError(
            f"{DATA_VARIABLE}={root} holds neither {LABELLED_FILES[0]} nor "
            f"{CONVERSATIONS_FOLDER}/; unset it to learn from generated small talk"
        )
    conversations = str(talks) if talks.is_dir() else ""
    data = DetectorDataConfig(labelled=tuple(labelled), conversations=conversations)
    return DialogueDetectorConfig(seed=EMBEDDED_SEED, data=data)


def embedded_detector() -> Path:
    """The folder of the embedded detector, which is built on first use.

    Raises:
        CacheError: the cache cannot be written.
        InputError: `PARLEY_DATA` cannot be used.
    """
    config = embedded_config()
    folder = embedded_detector_folder(config)
    if find_damage(folder) is None:
        return folder
    with shown("building the embedded detector") as building:

        def build(target: Path) -> None:
            from parley.platform.maxims.detector.building import build_detector

            build_detector(config, building.report).detector.save(target)

        return build_once(folder, build, building.say)


def embedded_detector_folder(config: DialogueDetectorConfig) -> Path:
    """Where the embedded detector of these settings and data lies, or will lie.

    Raises:
        InputError: a file of the data cannot be read.
    """
    return cache_root() / f"detector-{_digest(config)}"


def _digest(config: DialogueDetectorConfig) -> str:
    """Names the settings and the content of the data: twelve hexadecimal digits."""
    settings = config.model_dump(mode="json")
    settings["data"] |= {"labelled": [], "conversations": ""}
    digest = hashlib.sha256(to_json([RECIPE_VERSION, settings]).encode())
    talks = config.data.conversations
    folder_files = sorted(Path(talks).iterdir()) if talks else []
    for path in (*map(Path, config.data.labelled), *folder_files):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise InputError(f"{display_path(path)} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:12]
