"""The embedded detector: features and trees, several models of them, in a folder without pickles.

It remembers, as hashes, which conversations each of its models has not seen. A row of such a
conversation is judged by that model alone, any other row by the mean of all: a file that the
detector was trained on can be scored without leakage.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from parley.platform.errors import InputError, display_path
from parley.platform.maxims.detector.cross_fitted_model import (
    CrossFittedModel,
    model_arrays,
    model_of,
    surface_features,
)
from parley.platform.maxims.detector.features.parsed_response import Passage, parse_passage
from parley.platform.maxims.detector.violation_heads import HEADS, join_heads
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.wording import is_long, likeness, split_turns
from parley.platform.records import Facts
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.terminal.activities import each

DETECTOR_FILE, WORDS_FILE, ARRAYS_FILE = "detector.json", "words.json", "arrays.safetensors"
FORMAT = 1
"""Raised when older folders can no longer be read."""
THRESHOLD = 0.5
"""Probabilities are made so that every maxim counts as violated from one half on."""
UNKNOWN = -1
"""The fold of a row whose conversation no model has seen."""
BATCH_ROWS = 2_048
SPARSE_BELOW = 0.4
"""Arrays with a smaller share of non-zero numbers are written as positions and numbers."""


class DetectorFolderError(InputError):
    """A folder that holds no detector, or a damaged one."""


class FeatureDetector(Detector):
    """Trees on features, cross-fitted.

    Args:
        models: by fold.
        offsets: float64 [K + 1, H], log-odds from which each head says yes: for rows of each fold,
            and last for rows of unknown conversations.
        folds: hash of an utterance or of a row -> the fold whose model has not seen it.
        facts: what it was made of and what it reached, for `detector.json`.
    """

    def __init__(
        self,
        models: Sequence[CrossFittedModel],
        offsets: NDArray[np.float64],
        folds: Mapping[int, int],
        facts: Mapping[str, Any],
    ) -> None:
        self.models = list(models)
        self.offsets = offsets
        self.thresholds = np.full(len(MAXIMS), THRESHOLD)
        self.folds = dict(folds)
        self.facts = dict(facts)
        self.max_flag_rate = float(facts.get("max_flag_rate", Detector.max_flag_rate))
        self.learned_from = _describe_data(facts.get("trained_on") or {})

    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        """Probabilities of violation, float64 [N, 4]."""
        parts = [
            self._score_batch(rows[start : start + BATCH_ROWS])
            for start in each(range(0, len(rows), BATCH_ROWS), "judging", "batches")
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(MAXIMS)))

    def find_folds(self, rows: Sequence[Exchange]) -> NDArray[np.int64]:
        """The fold of each row's conversation, [N]; `UNKNOWN` where no model has seen it."""
        return np.array([self._find_fold(row) for row in rows], np.int64)

    def _score_batch(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        passages = [parse_passage(row) for row in rows]
        surface = surface_features(passages)
        folds = self.find_folds(rows)
        log_odds = np.zeros((len(rows), len(HEADS)))
        for fold, model in enumerate(self.models):
            asked = np.flatnonzero((folds == fold) | (folds == UNKNOWN))
            if len(asked):
                chosen: list[Passage] = [passages[index] for index in asked]
                log_odds[asked] += model.log_odds(chosen, surface[asked])
        log_odds[folds == UNKNOWN] /= len(self.models)
        return join_heads(log_odds, self.offsets[folds])  # `UNKNOWN` is the last row

    def _find_fold(self, row: Exchange) -> int:
        known = self.folds.get(row_key(row))
        if known is not None:
            return known
        votes = Counter(
            self.folds[key] for key in utterance_keys(row) if key in self.folds
        ).most_common(1)
        return votes[0][0] if votes else UNKNOWN

    def save(self, folder: Path) -> None:
        """Write the detector into a folder, which is made where it is absent."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {
            "folds.keys": np.array(sorted(self.folds), np.uint64),
            "folds.values": np.array([self.folds[key] for key in sorted(self.folds)], np.int8),
        }
        tables = []
        for fold, model in enumerate(self.models):
            own, words = model_arrays(model)
            for name, array in own.items():
                arrays |= _packed(f"{fold}.{name}", array)
            tables.append(words)
        save_file(arrays, folder / ARRAYS_FILE)
        atomic_write_text(folder / WORDS_FILE, to_json(tables) + "\n")
        facts = {
            "format": FORMAT,
            "num_models": len(self.models),
            "offsets": {head.name: self.offsets[:, i].tolist() for i, head in enumerate(HEADS)},
            **self.facts,
        }
        atomic_write_text(folder / DETECTOR_FILE, to_json(facts, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FeatureDetector:
        """The detector in a folder that `save` wrote.

        Raises:
            DetectorFolderError: there is none, or it is damaged or of another format.
        """
        facts = _read_facts(folder)
        try:
            arrays = _unpacked(load_file(folder / ARRAYS_FILE))
            tables = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
            models = [
                model_of(_below(arrays, f"{fold}."), words) for fold, words in enumerate(tables)
            ]
            keys, values = arrays["folds.keys"], arrays["folds.values"]
            offsets = np.array([facts["offsets"][head.name] for head in HEADS], np.float64).T
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DetectorFolderError(
                f"{display_path(folder)}: the detector is damaged ({error!r}); train it again by "
                f"parley train dialogue/detector"
            ) from error
        folds = dict(zip(keys.tolist(), values.tolist(), strict=True))
        return cls(models, offsets, folds, facts)


def _describe_data(trained_on: Mapping[str, Any]) -> str:
    """What a detector learned from, in a few words; empty where its facts do not say."""
    if not trained_on:
        return ""
    talks = f"{trained_on.get('conversations', 0):,} conversations"
    made = "generated small talk" if trained_on.get("generated") else talks
    return ", ".join([made, *map(str, trained_on.get("files") or ())])


def row_key(row: Exchange) -> int:
    """Names a row by its context and response, whatever their case and white space."""
    return _key(f"{likeness(row.context)}\x00{likeness(row.response)}")


def utterance_keys(row: Exchange) -> Iterable[int]:
    """Names the utterances of six words and more in a row; shorter ones are said everywhere."""
    for utterance in (*split_turns(row.context), row.response):
        if is_long(utterance):
            yield _key(likeness(utterance))


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _read_facts(folder: Path) -> Facts:
    path = folder / DETECTOR_FILE
    try:
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DetectorFolderError(f"{display_path(path)} cannot be read: {error}") from error
    if facts.get("format") != FORMAT:
        raise DetectorFolderError(
            f"{display_path(path)} has format {facts.get('format')}, this version reads {FORMAT}; "
            f"train the detector again by parley train dialogue/detector"
        )
    return facts


def _packed(name: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The array under its name, or three arrays where most of its numbers are zero."""
    flat = np.ascontiguousarray(array).reshape(-1)
    places = np.flatnonzero(flat)
    if array.dtype != np.float32 or len(places) > SPARSE_BELOW * flat.size:
        return {name: np.ascontiguousarray(array)}
    return {
        f"{name}@places": places.astype(np.int32),
        f"{name}@numbers": flat[places],
        f"{name}@shape": np.array(array.shape, np.int64),
    }


def _unpacked(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `_packed`, for all arrays of a file."""
    arrays = {name: array for name, array in stored.items() if "@" not in name}
    for name, shape in stored.items():
        stem, _, kind = name.partition("@")
        if kind == "shape":
            array = np.zeros(int(np.prod(shape)), np.float32)
            array[stored[f"{stem}@places"]] = stored[f"{stem}@numbers"]
            arrays[stem] = array.reshape(shape.tolist())
    return arrays


def _below(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
