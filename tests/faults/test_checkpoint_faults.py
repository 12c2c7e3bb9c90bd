"""The process dies while it saves: the checkpoint before stands, whole."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parley.platform.runs.checkpoints import CheckpointStore

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "every", [11, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_death_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path: Path, every: int) -> None:
    """Of three saves with checkpoints before them, one of which replaces another of its name."""
    call = [sys.executable, "-m", "tests.faults.checkpoint_crashes", str(tmp_path), str(every)]
    output = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [json.loads(line) for line in output.splitlines()]
    assert [row["died"] for row in found] == [True] * (len(found) - 1) + [False]
    assert len(found) > 50 / every
    last = [row["last"] for row in found]
    assert last == sorted(last), "a later death never finds less"
    assert {*last} == {2, 3, 4}
    assert all(row["last_name"] == f"iteration_{row['last']:06d}" for row in found)
    assert [row["best"] for row in found] == sorted(row["best"] for row in found)
    assert {row["best"] for row in found} == {1, 3}
    for row in found:
        kept = {"best.json", "last.json", "iteration_000005", f"iteration_{row['best']:06d}"}
        assert set(row["after"]) == kept, row


SAVE_FOR_EVER = """
import sys
from pathlib import Path
from parley.platform.runs.checkpoints import CheckpointStore
from tests.faults.checkpoint_crashes import save
store = CheckpointStore(Path(sys.argv[1]), keep=2)
newest = store.find("last")
first = 0 if newest is None else int(newest.path.name[-6:])
for iteration in range(first + 1, 250):
    save(store, iteration)
    save(store, iteration, best_score=float(iteration))
    print(iteration, flush=True)
"""


@pytest.mark.slow
def test_saving_that_is_killed_at_any_time_goes_on_from_what_it_said_was_saved(
    tmp_path: Path,
) -> None:
    draws, said = random.Random(0), 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(draws.randint(1, 4)):
            said = int(process.stdout.readline())
        time.sleep(draws.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = max([said, *map(int, process.stdout.read().split())])
        process.stdout.close()
        last = CheckpointStore(tmp_path).find("last")
        assert last is not None
        assert last.read_trainer_state()["iteration"] in (said, said + 1)
        best = CheckpointStore(tmp_path).find("best")
        assert best is not None
        assert best.read_trainer_state()["iteration"] in (said, said + 1)
