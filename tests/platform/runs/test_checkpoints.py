"""Checkpoints: nothing is lost on the way to disk, nothing torn is taken, nothing is executed."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley.platform.runs.checkpoints import (
    MANIFEST_FILE,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    open_checkpoint,
    resolve_checkpoint,
)
from parley.platform.runs.state_tree import load_tree, save_tree
from parley.policies.token.building import load_policy

ROOT = Path(__file__).parents[3]


def save(
    store: CheckpointStore, iteration: int, best_score: float | None = None, size: int = 10
) -> Checkpoint:
    """A checkpoint in which everything tells the iteration."""

    def save_policies(folder: Path) -> None:
        (folder / "carts").mkdir()
        (folder / "carts" / "config.json").write_text(json.dumps({"iteration": iteration}))

    state = {"iteration": iteration, "weights": np.full(size, iteration)}
    return store.save(iteration, save_policies, {"env_steps": iteration}, state, best_score)


def iteration_of(checkpoint: Checkpoint | None) -> int:
    assert checkpoint is not None
    state = checkpoint.read_trainer_state()
    assert (state["weights"] == state["iteration"]).all()
    assert checkpoint.read_policy_facts() == {"env_steps": state["iteration"]}
    return int(state["iteration"])


def kept(store: CheckpointStore) -> list[int]:
    return sorted(int(path.name.split("_")[1]) for path in store.folder.glob("iteration_*"))


def assert_equal_trees(found: Any, expected: Any) -> None:
    """Equal in values and in types, down to the leaves."""
    if isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        assert [type(key) for key in found] == [type(key) for key in expected]
        for key, value in expected.items():
            assert_equal_trees(found[key], value)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for mine, other in zip(found, expected, strict=True):
            assert_equal_trees(mine, other)
    else:
        assert type(found) is type(expected)
        assert found == expected


TREES = {
    "plain": {"a": 1, "b": -2.5, "c": "é\n", "d": None, "e": True, "f": []},
    "nested": {"a": [{"b": [1, (2, [3])]}, ()], "empty": {}},
    "integer keys": {0: {"step": np.float32(3)}, 1: "one", -7: {2: 3}},
    "mixed and tuple keys": {("actor", 0): 1, "x": 2, None: 3, True: 4},
    "keys like its own marks": {"__array__": 1, "__pairs__": {"__tuple__": [2]}},
    "random streams": [np.random.PCG64(seed).state for seed in range(3)],
    "numbers": [float("inf"), 1e-308, 2**127 + 1, 0.1 + 0.2],
    "arrays": [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.zeros((0, 5), np.float32),
        np.array([True, False]),
        np.arange(10)[::3],
        np.array(3.5),
    ],
    "numbers alone": 17,
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_tree_comes_back_with_all_its_types(tree: Any, tmp_path: Path) -> None:
    save_tree(tree, tmp_path / "state")
    found = load_tree(tmp_path / "state")
    expected = np.array(3) if isinstance(tree, np.generic) else tree
    assert_equal_trees(found, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]


def test_a_random_stream_goes_on_exactly(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    generator.random(7, dtype=np.float32)  # half of a 64-bit draw is left over
    save_tree(generator.bit_generator.state, tmp_path / "state")
    resumed = np.random.default_rng()
    resumed.bit_generator.state = load_tree(tmp_path / "state")
    np.testing.assert_array_equal(
        resumed.random(9, dtype=np.float32), generator.random(9, dtype=np.float32)
    )


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", print])
def test_what_would_need_a_pickle_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"cannot save a {type(value).__name__}"):
        save_tree({"a": [value]}, tmp_path / "state")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_a_damaged_tree_is_refused_by_name(suffix: str, damage: str, tmp_path: Path) -> None:
    save_tree({"a": np.arange(50)}, tmp_path / "state")
    path = tmp_path / f"state{suffix}"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-9] if damage == "truncated" else b"\x00\xff" * 40)
    with pytest.raises(ValueError, match=rf"state\{suffix}"):
        load_tree(tmp_path / "state")


def test_the_newest_and_the_best_are_found_and_old_ones_removed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    assert store.find("last") is None
    assert store.find("best") is None
    assert store.best_score() is None
    save(store, 1, best_score=10.0)
    for iteration in (2, 3):
        save(store, iteration)
    assert kept(store) == [1, 2, 3]  # the best besides the two newest
    save(store, 4, best_score=20.0)
    assert kept(store) == [3, 4]
    save(store, 5)
    save(store, 6)
    assert kept(store) == [4, 5, 6]
    assert iteration_of(store.find("last")) == 6
    assert iteration_of(store.find("best")) == 4
    assert store.best_score() == 20.0
    assert json.loads((tmp_path / "last.json").read_text())["checkpoint"] == "iteration_000006"
    with_ids = {path.name for path in (tmp_path / "iteration_000006").iterdir()}
    assert with_ids == {"policies", "policy.json", "trainer.json", "trainer.safetensors"} | {
        MANIFEST_FILE
    }


def test_an_iteration_saved_again_is_replaced(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 1, size=5)
    (tmp_path / "iteration_000001" / "left over").write_text("")
    found = save(store, 1, size=7)
    assert len(open_checkpoint(found.path).read_trainer_state()["weights"]) == 7
    assert not (found.path / "left over").exists()


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_newest_one_neither_hides_nor_outlives_what_is_saved_after_it(
    keep: int, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path, keep=keep)
    for iteration in (10, 20):
        save(store, iteration)
    shutil.copytree(tmp_path / "iteration_000020", tmp_path / "iteration_000030")
    (tmp_path / "iteration_000030" / MANIFEST_FILE).unlink()
    assert iteration_of(store.find("last")) == 20
    save(store, 22)
    assert iteration_of(store.find("last")) == 22
    save(store, 30)
    assert iteration_of(store.find("last")) == 30


def test_a_failure_while_saving_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 1, best_score=3.0)

    def break_off(folder: Path) -> None:
        (folder / "carts").mkdir()
        raise OSError("disk full")

    for iteration in (1, 2):
        with pytest.raises(OSError, match="disk full"):
            store.save(iteration, break_off, {}, {}, 5.0)
        assert iteration_of(store.find("last")) == 1
        assert iteration_of(store.find("best")) == 1
    assert kept(store) == [1]
    assert iteration_of(resolve_checkpoint(tmp_path)) == 1
    save(store, 2)
    assert not list(tmp_path.glob(".*2.partial"))


WRITE_FOR_EVER = """
import json, sys
from pathlib import Path
import numpy as np
from parley.platform.runs.checkpoints import CheckpointStore

store = CheckpointStore(Path(sys.argv[1]), keep=2)
iteration = int(sys.argv[2])
while True:
    iteration += 1
    def save_policies(folder):
        (folder / "carts").mkdir()
        (folder / "carts" / "config.json").write_text(json.dumps({"iteration": iteration}))
    state = {"iteration": iteration, "weights": np.full(300_000, iteration)}
    store.save(iteration, save_policies, {"env_steps": iteration}, state, float(iteration))
    print(iteration, flush=True)
"""


def test_a_process_killed_while_writing_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 0, best_score=0.0)
    generator = np.random.default_rng(0)
    reached = 0
    for _ in range(6):
        call = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path), str(reached)]
        writer = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout is not None
        reached = int(writer.stdout.readline())
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=float(generator.uniform(0.0, 0.1)))
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        reached = max([reached, *map(int, rest.split())])
        found = iteration_of(store.find("last"))
        assert found in (reached, reached + 1)
        assert iteration_of(store.find("best")) in (reached, reached + 1)
        reached = found


def test_a_first_checkpoint_whose_pointer_was_not_written_is_found(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 1)
    (tmp_path / "last.json").unlink()
    assert iteration_of(store.find("last")) == 1


FILES = (
    "policy.json",
    "trainer.json",
    "trainer.safetensors",
    "policies/carts/config.json",
    MANIFEST_FILE,
)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [remove, truncate, flip])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 1)
    save(store, 2, best_score=1.0)
    damage(tmp_path / "iteration_000002" / name)
    for open_damaged in (
        lambda: open_checkpoint(tmp_path / "iteration_000002"),
        lambda: store.find("best"),
        lambda: resolve_checkpoint(tmp_path),
    ):
        with pytest.raises(CheckpointError, match=re.escape(Path(name).name)):
            open_damaged()
    assert iteration_of(store.find("last")) == 1
    damage(tmp_path / "iteration_000001" / name)
    with pytest.raises(CheckpointError, match=rf"iteration_000002.*{re.escape(name)}"):
        store.find("last")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": []}'])
@pytest.mark.parametrize("name", ["best.json", "iteration_000001/manifest.json"])
def test_a_pointer_or_manifest_of_another_shape_is_named(
    name: str, content: str, tmp_path: Path
) -> None:
    save(CheckpointStore(tmp_path), 1, best_score=1.0)
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=Path(name).name):
        resolve_checkpoint(tmp_path)


def test_a_best_pointer_to_nothing_is_explained(tmp_path: Path) -> None:
    save(CheckpointStore(tmp_path), 1, best_score=1.0)
    shutil.rmtree(tmp_path / "iteration_000001")
    with pytest.raises(CheckpointError, match="iteration_000001"):
        resolve_checkpoint(tmp_path)


def test_run_checkpoints_checkpoint_and_policy_folder_all_mean_the_checkpoint(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "config.toml").write_text("")
    store = CheckpointStore(folder)
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        resolve_checkpoint(tmp_path / "run")
    save(store, 1)
    assert iteration_of(resolve_checkpoint(tmp_path / "run")) == 1
    best = save(store, 2, best_score=1.0)
    save(store, 3)
    for path in (tmp_path / "run", folder, best.path, best.path / "policies" / "carts"):
        assert resolve_checkpoint(path).path == best.path
    copied = tmp_path / "copied"
    shutil.copytree(best.path, copied)
    assert iteration_of(resolve_checkpoint(copied)) == 2
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CheckpointError, match=path.name):
            resolve_checkpoint(path)


def test_policy_folders_are_those_of_the_modules(tmp_path: Path) -> None:
    def save_policies(folder: Path) -> None:
        for name in ("cart_1", "cart_0"):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text("{}")

    checkpoint = CheckpointStore(tmp_path).save(1, save_policies, {}, {})
    assert list(checkpoint.policy_folders) == ["cart_0", "cart_1"]
    assert all(path.is_dir() for path in checkpoint.policy_folders.values())


class Payload:
    """What an attacker would plant: unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


PLANTED = (
    "trainer.pkl",
    "trainer.json",
    "trainer.safetensors",
    "algorithm_state.pkl",
    "policies/carts/pytorch_model.bin",
    "policies/carts/model.safetensors",
    "policies/carts/value_head.safetensors",
)


@pytest.mark.parametrize("model_type", ["token_mlp", "dhmm_gpt2"])
def test_a_planted_pickle_is_never_executed(model_type: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()  # it would work
    mark.unlink()
    folder = save(CheckpointStore(tmp_path / "checkpoints"), 1).path
    for name in PLANTED:
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))
    (folder / "policies" / "carts" / "config.json").write_text(
        json.dumps({"model_type": model_type})
    )
    with pytest.raises(CheckpointError):
        open_checkpoint(folder)
    with pytest.raises(CheckpointError):
        Checkpoint(folder).read_trainer_state()
    for name in ("model.safetensors", "value_head.safetensors"):
        with pytest.raises(ValueError, match="carts"):
            load_policy(folder / "policies" / "carts")
        (folder / "policies" / "carts" / name).unlink()
    assert not mark.exists()


def test_no_code_that_reads_checkpoints_knows_a_format_that_can_execute() -> None:
    dangerous = re.compile(
        r"\b(c?pickle|dill|joblib|marshal|shelve|torch\.load|np\.load|eval)\b\(?"
    )
    sources = [
        *(ROOT / "platform").rglob("*.py"),
        *(ROOT / "policies").rglob("*.py"),
    ]
    assert len(sources) > 100
    for source in sources:
        code = "\n".join(
            line
            for line in source.read_text().splitlines()
            if line.lstrip().startswith(("import", "from"))
        )
        assert not dangerous.search(code), source
        assert not re.search(r"torch\.load\(|np\.load\(|[^.\w]eval\(|exec\(", source.read_text())
