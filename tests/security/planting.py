"""Pickles that leave a mark when they are read, under the names that loaders look for."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

RLLIB = ("algorithm_state.pkl", "class_and_ctor_args.pkl", "module_state.pkl", "policy_state.pkl")
TRAINERS = ("trainer.pkl", "state.pkl", "params.pkl", "tuner.pkl", "trainable.pkl", "model.joblib")
TORCH = (
    "pytorch_model.bin",
    "adapter_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
)
PICKLES = (*RLLIB, *TRAINERS, "searcher-state.pkl", "detector.joblib", "tokenizer.pkl")
RLLIB_METADATA = {"type": "Algorithm", "checkpoint_version": "2.1", "state_file": RLLIB[0]}


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def plant(root: Path, mark: Path) -> int:
    """Put pickles into every folder below `root`, beside what is there; give their number."""
    payload = pickle.dumps(Payload(mark))
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    count = 0
    for folder in folders:
        contents = {name: payload for name in PICKLES}
        contents |= {name: torch_bytes(mark) for name in TORCH}
        contents |= {"episodes.npz": npz_bytes(mark), "state.npy": npy_bytes(mark)}
        contents["rllib_checkpoint.json"] = json.dumps(RLLIB_METADATA).encode()
        for name, content in contents.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
                count += 1
    return count


def torch_bytes(mark: Path) -> bytes:
    """What `torch.save` makes of a payload among weights."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "evil": Payload(mark)}, buffer)
    return buffer.getvalue()


def npy_bytes(mark: Path) -> bytes:
    """An array of objects."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npz_bytes(mark: Path) -> bytes:
    """An archive of episodes whose tokens are objects."""
    buffer = io.BytesIO()
    evil = np.array([Payload(mark)], dtype=object)
    np.savez(buffer, tokens=evil, offsets=evil, returns=evil, terminated=evil)
    return buffer.getvalue()


_seen: list[tuple[str, str]] = []
_is_hooked = False


@contextmanager
def watch_unpickling() -> Iterator[list[tuple[str, str]]]:
    """What unpicklers of this process look up meanwhile: module and name of each."""
    global _is_hooked
    if not _is_hooked:  # an audit hook stays for as long as the process lives
        sys.addaudithook(_note)
        _is_hooked = True
    _seen.clear()
    yield _seen


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        _seen.append((str(arguments[0]), str(arguments[1])))
