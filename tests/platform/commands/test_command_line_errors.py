"""What a person gets wrong with `parley` ends with 2 and one clear paragraph, before Ray starts."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.run_folder import RunFolder

MakeConfig = Callable[..., CartPolePPOConfig]
SaveUntrained = Callable[..., Checkpoint]
Refuse = Callable[..., str]


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Runs a command that must be refused and gives what it said."""

    def run(*argv: str | Path) -> str:
        assert main([str(word) for word in argv]) == 2
        activity, command, error = capsys.readouterr().err.rpartition(f"parley {argv[0]}: ")
        assert command
        assert re.fullmatch(
            r"((loading libraries, )?(starting|joining) Ray.* \.\.\.\n|evaluating \.\.\.\n)*",
            activity,
        )
        assert "Traceback" not in error
        assert "Error:" not in error
        return error

    return run


@pytest.fixture
def run(make_config: MakeConfig, save_untrained: SaveUntrained, tmp_path: Path) -> Path:
    """A run folder with one checkpoint of an untrained perceptron."""
    config = make_config()
    with RunFolder.create(config, tmp_path / "run") as folder:
        save_untrained(folder.checkpoints, config)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollouts.num_env_runners=0", "rollouts.num_env_runners = 0: must be at least 1"),
        ("env.window=13", "env.window 13 needs 66 tokens"),
        ("env.num_bins=1", "env.num_bins = 1: must be at least 2"),
        ("env.num_carts=0", "env.num_carts = 0: must be at least 1"),
        ("env.dither=1.5", "env.dither = 1.5: must be at most 1"),
        ("ppo.gamma=0", "ppo.gamma = 0: must be greater than 0"),
        ("ppo.learning_rate=fast", "ppo.learning_rate = 'fast': must be a number"),
        ("ppo.learning_rte=1", "did you mean ppo.learning_rate?"),
        ("seed=-1", "seed = -1: must be at least 0"),
        ("policy=lstm", "policy = 'lstm'"),
        ("ray.dashboard_port=99999", "ray.dashboard_port = 99999: must be at most 65535"),
        ("ppo.minibatch_size=100000", "larger than the batch of one iteration"),
    ],
)
def test_an_impossible_setting(override: str, message: str, refuse: Refuse, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert message in refuse("train", "cartpole/ppo", "--run-dir", run, override)
    assert not run.exists()


def test_an_unknown_experiment(refuse: Refuse, tmp_path: Path) -> None:
    error = refuse("train", "cartpole/pp0", "--run-dir", tmp_path / "run")
    assert "did you mean cartpole/ppo?" in error
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(refuse: Refuse, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    error = refuse("train", "cartpole/ppo", "--run-dir", run, "policy=mlp")
    assert "--resume" in error
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_place_where_nothing_can_be_written(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("/proc/parley", "/proc/self/run", str(tmp_path / "file" / "run")):
        error = refuse("train", "cartpole/ppo", "--run-dir", folder)
        assert "as run folder" in error
        assert "choose another --run-dir" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "locked" / "run")
    assert "no permission to write" in error


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_dashboard_port_that_is_taken(
    busy_port: int, refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    overrides = ["policy=mlp", "ray.dashboard=true", f"ray.dashboard_port={busy_port}"]
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "run", *overrides)
    assert f"ray.dashboard_port {busy_port} is taken" in error
    assert "ray.dashboard=false" in error


@pytest.mark.parametrize("given", ["ray.address", "RAY_ADDRESS"])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer(
    scheme: str, given: str, refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:  # a port that nobody listens on
        probe.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    overrides = ["policy=mlp"]
    if given == "ray.address":
        monkeypatch.delenv("RAY_ADDRESS")
        overrides.append(f"ray.address={address}")
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "run", *overrides)
    assert f"no Ray cluster answers at {address}" in error
    assert "leave the address out to use a local one" in error


INIT_FROM = {
    "another model": (["policy=dhmm_gpt2"], "is another model than policy=dhmm_gpt2"),
    "another window": (["env.window=2"], "is another model than policy=mlp"),
    "other bins": (["env.num_bins=12"], "speaks 10 bins, but env.num_bins is 12"),
    "no steps left": (["stop.max_env_steps=2050"], "raise the latter"),
}


def test_fewer_steps_than_one_iteration_takes(refuse: Refuse, tmp_path: Path) -> None:
    overrides = ["policy=mlp", "stop.max_env_steps=2047"]
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "run", *overrides)
    assert "stop.max_env_steps 2047 does not suffice for one iteration of 2048 steps" in error


@pytest.mark.parametrize(("overrides", "message"), INIT_FROM.values(), ids=INIT_FROM)
def test_a_start_from_a_run_that_does_not_fit(
    overrides: list[str], message: str, refuse: Refuse, run: Path, tmp_path: Path
) -> None:
    settings = ["policy=mlp", "env.window=1", f"init_from={run}", *overrides]
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "new", *settings)
    assert message in error
    assert "init_from" in error


@pytest.mark.parametrize("source", ["absent", "file", "empty"])
def test_a_start_from_what_is_no_run(source: str, refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    settings = ["policy=mlp", f"init_from={tmp_path / source}"]
    error = refuse("train", "cartpole/ppo", "--run-dir", tmp_path / "new", *settings)
    assert source in error


def damage_pointer(run: Path) -> None:
    (run / "checkpoints" / "best.json").write_text('{"checkpoint": ')


def remove_weights(run: Path) -> None:
    (weights,) = run.rglob("model.safetensors")
    weights.unlink()


def truncate_weights(run: Path) -> None:
    (weights,) = run.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])


def change_weights(run: Path) -> None:
    (weights,) = run.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")


def remove_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


DAMAGES = {
    damage_pointer: r"best\.json is damaged",
    remove_weights: r"model\.safetensors is missing; use another checkpoint",
    truncate_weights: r"model\.safetensors is truncated: \d+ of \d+ bytes",
    change_weights: r"model\.safetensors was changed",
    remove_checkpoints: "holds no checkpoint yet",
}


@pytest.mark.parametrize("command", ["evaluate", "watch", "train"])
@pytest.mark.parametrize(("damage", "message"), DAMAGES.items())
def test_a_damaged_checkpoint(
    damage: Callable[[Path], None], message: str, command: str, refuse: Refuse, run: Path
) -> None:
    damage(run)
    if command == "train":
        folder = run.parent / "new"
        settings = ["policy=mlp", "env.window=1", f"init_from={run}"]
        error = refuse("train", "cartpole/ppo", "--run-dir", folder, *settings)
    else:
        error = refuse(command, run)
    assert re.search(message, error)


@pytest.mark.parametrize("damage", [remove_weights, truncate_weights, change_weights])
def test_no_sound_checkpoint_to_resume(
    damage: Callable[[Path], None], refuse: Refuse, run: Path
) -> None:
    damage(run)
    error = refuse("train", "cartpole/ppo", "--run-dir", run, "--resume")
    assert "model.safetensors" in error


@pytest.mark.parametrize("command", ["evaluate", "watch"])
def test_a_checkpoint_copied_out_of_its_run_is_still_one(
    command: str, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run / "checkpoints" / "iteration_000001", tmp_path / "copied")
    arguments = {
        "evaluate": ["--episodes", "2"],
        "watch": ["--out", str(tmp_path / "episode.png")],
    }
    assert main([command, str(tmp_path / "copied"), *arguments[command]]) == 0
    policy = tmp_path / "copied" / "policies" / "carts"
    assert main([command, str(policy), *arguments[command]]) == 0


def test_another_kind_of_picture(refuse: Refuse, run: Path, tmp_path: Path) -> None:
    error = refuse("watch", run, "--out", tmp_path / "episode.mp4")
    assert "write a .gif" in error


def test_resuming_with_other_settings_or_an_absent_run(
    refuse: Refuse, run: Path, tmp_path: Path
) -> None:
    resume = ["train", "cartpole/ppo", "--resume", "--run-dir"]
    assert "change env.num_bins" in refuse(*resume, run, "env.num_bins=20")
    assert "no run folder" in refuse(*resume, tmp_path / "absent")


def test_a_refused_start_leaves_its_folder_free(refuse: Refuse, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refuse("train", "cartpole/ppo", "--run-dir", run, "policy=mlp", "stop.max_env_steps=1")
    assert not run.exists()
