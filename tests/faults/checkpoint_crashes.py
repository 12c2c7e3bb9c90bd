"""A process that dies at a chosen file operation of saving; run as a module by the tests.

It dies in Python's audit hook, which is called before every opening, renaming, making and removing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from parley.platform.runs.checkpoints import CheckpointStore

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def save(store: CheckpointStore, iteration: int, best_score: float | None = None) -> None:
    """Two policies whose weights, and a trainer's state which, are those of the iteration."""

    def save_policies(folder: Path) -> None:
        for name in ("one", "two"):
            (folder / name).mkdir()
            (folder / name / "model.bin").write_bytes(bytes([iteration]) * 5_000)

    state = {"iteration": iteration, "moments": np.full(1_000, iteration)}
    store.save(iteration, save_policies, {"policy": "none"}, state, best_score)


def save_and_die(folder: Path, operation: int) -> bool:
    """Save in a child that dies before its n-th file operation; whether it did."""
    child = os.fork()
    if child == 0:
        count = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            if event in OPERATIONS:
                count += 1
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        store = CheckpointStore(folder, keep=1)
        sys.addaudithook(watch)
        save(store, 3)
        save(store, 3, best_score=3.0)
        save(store, 4)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    """Die at every n-th operation in turn; print what was found after each."""
    root, every = Path(sys.argv[1]), int(sys.argv[2])
    save(CheckpointStore(root / "begun", keep=1), 1, best_score=1.0)
    save(CheckpointStore(root / "begun", keep=1), 2)
    for operation in range(1, 10_000, every):
        folder = root / f"died_{operation}"
        shutil.copytree(root / "begun", folder)
        died = save_and_die(folder, operation)
        store = CheckpointStore(folder, keep=1)
        last, best = store.find("last"), store.find("best")
        found = {
            "operation": operation,
            "died": died,
            "last": last and last.read_trainer_state()["iteration"],
            "last_name": last and last.path.name,
            "best": best and best.read_trainer_state()["iteration"],
        }
        save(CheckpointStore(folder, keep=1), 5)
        found["after"] = sorted(path.name for path in folder.iterdir())
        print(json.dumps(found), flush=True)
        shutil.rmtree(folder)
        if not died:
            return


if __name__ == "__main__":
    main()
