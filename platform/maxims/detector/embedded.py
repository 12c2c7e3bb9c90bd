"""The detector that is built on first use, of the data below `PARLEY_DATA` or of small talk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from parley.platform.errors import InputError, display_path
from parley.platform.maxims.data_folder import CONVERSATIONS_FOLDER, DATA_VARIABLE
from parley.platform.maxims.detector_settings import (
    DetectorDataConfig,
    DetectorModelConfig,
    DialogueDetectorConfig,
)
from parley.platform.runs.cache_folder import build_once, cache_root, find_damage
from parley.platform.runs.files import to_json
from parley.platform.terminal.progress import shown

LABELLED_FILES = tuple(
    f"gricebench/{name}.json"
    for name in ("detector_labelled", "detector_gold", "detector_weak", "repair_pairs")
)
RECIPE_VERSION = 2
"""Raised when features or training change what comes out of the same settings and data."""
EMBEDDED_SEED = 1_000_003
"""Of the generated small talk: other dialogues than those that pairs are generated from."""
SMALL_TALK_INJECTIONS, SMALL_TALK_TURNS, SMALL_TALK_FOLDS = 300, 3_000, 3
"""Small talk is one kind of text: less of it does, and a first use should not take long."""


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
