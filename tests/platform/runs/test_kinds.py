"""Which kind of run a folder is of: as it states it, and as older ones let one know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parley.platform.errors import InputError
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.kinds import experiment_at, find_run, kind_facts, kind_of_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.experiments import EXPERIMENTS, Kind
from parley.platform.settings.loading import load_experiment

OLD_FACTS: list[tuple[dict[str, Any], Kind]] = [
    ({"policy": "mlp", "module_of_cart": ["carts"]}, ("cartpole", "ppo")),
    ({"workflow": "dialogue", "policy": "detector"}, ("dialogue", "detector")),
    ({"workflow": "dialogue", "policy": "dpo", "experiment": {}}, ("dialogue", "dpo")),
    (
        {"workflow": "dialogue", "experiment": {"algorithm": "reinforce"}},
        ("dialogue", "reinforce"),
    ),
    ({"workflow": "dialogue", "policy": "gpt2"}, ("dialogue", "pretrain")),
    ({"workflow": "trace", "language": {"name": "addition"}}, ("trace", "next_token")),
]


@pytest.mark.parametrize(("facts", "kind"), OLD_FACTS)
def test_older_checkpoints_are_known_by_what_they_hold(facts: dict[str, Any], kind: Kind) -> None:
    assert kind_of_facts(facts) == kind


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_what_a_checkpoint_states_counts(kind: Kind) -> None:
    assert kind_of_facts({"workflow": kind[0], "algorithm": kind[1], "policy": "dpo"}) == kind


def test_a_run_and_all_in_it_are_of_its_settings_kind(tmp_path: Path) -> None:
    config = load_experiment("dialogue/distort", ["algorithm=reinforce"])
    RunFolder.create(config, tmp_path / "run").close()
    inside = tmp_path / "run" / "checkpoints" / "iteration_000001"
    inside.mkdir(parents=True)
    assert find_run(inside) == tmp_path / "run"
    assert experiment_at(inside)[0] == ("dialogue", "reinforce")


def test_a_checkpoint_that_was_copied_out_says_it_itself(tmp_path: Path) -> None:
    config = load_experiment("cartpole/imitate")
    store = CheckpointStore(tmp_path / "store")
    checkpoint = store.save(1, _save_nothing, kind_facts(config), {})
    copied = checkpoint.path.rename(tmp_path / "copied")
    assert experiment_at(copied) == (
        ("cartpole", "imitate"),
        EXPERIMENTS["cartpole", "imitate"],
    )


def test_results_state_workflow_and_algorithm(tmp_path: Path) -> None:
    with RunFolder.create(load_experiment("trace/markov"), tmp_path / "run") as folder:
        folder.write_result({"status": "done", "seconds": 1.0, "metrics": {}, "checkpoint": None})
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["workflow"], result["algorithm"]) == ("trace", "next_token")


def test_what_is_neither_run_nor_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run or checkpoint folder"):
        experiment_at(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither a run folder"):
        experiment_at(tmp_path)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("workflow = ")
    with pytest.raises(InputError, match=r"config\.toml is damaged"):
        experiment_at(tmp_path)


def _save_nothing(folder: Path) -> None:
    (folder / "note.txt").write_text("no policy")
