"""Rows reach TensorBoard, W&B, MLflow and Aim, read back by their own libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ray.air.constants import TRAINING_ITERATION

from parley.platform.monitoring.run_monitor import run_monitored
from parley.platform.monitoring.tracked_series import STEP_KEY, TrackedSeries, read_tracking_id
from parley.platform.monitoring.trackers import TENSORBOARD_DIR, check_trackers, numbers_of
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment

PREFIX = "ray/tune/"
"""Tune's callbacks put it before the names of figures."""


def row(iteration: int, loss: float) -> dict[str, object]:
    return {
        "iteration": iteration,
        "loss": loss,
        "broken": float("nan"),
        "note": "words",
        "policies": {"cart_0": {"kl": loss / 2}},
    }


def trial_row(iteration: int, trial: str, evaluation: int, loss: float) -> dict[str, object]:
    own = {"trial": trial, "evaluation": evaluation, "config": {"dpo.beta": 0.3}}
    return {**row(iteration, loss), **own}


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Figure -> steps and values, of all event files in their order."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found: dict[str, list[tuple[int, Any]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            header, length = content[:8], int.from_bytes(content[:8], "little")
            assert int.from_bytes(content[8:12], "little") == masked_crc32c(header)
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                if value.tag.startswith(PREFIX):
                    tag = value.tag.removeprefix(PREFIX)
                    found.setdefault(tag, []).append((event.step, value.simple_value))
    return found


def test_steps_are_named_as_tune_names_them() -> None:
    assert STEP_KEY == TRAINING_ITERATION


def test_numbers_of_a_row() -> None:
    assert numbers_of(row(1, 0.5)) == {"iteration": 1, "loss": 0.5, "policies/cart_0/kl": 0.25}


def test_a_resumed_run_goes_on_in_tensorboard_without_doubled_steps(tmp_path: Path) -> None:
    config = load_experiment("cartpole/ppo")
    path = tmp_path / "run"
    with RunFolder.create(config, path) as folder, run_monitored(config, folder):
        for number in (1, 2, 3, 4):
            folder.append_metrics(row(number, number / 10))
    assert read_tensorboard(path / TENSORBOARD_DIR)["loss"] == [
        (n, pytest.approx(n / 10)) for n in (1, 2, 3, 4)
    ]
    with RunFolder.resume(path) as folder, run_monitored(config, folder):
        folder.drop_metrics_after(2)
        folder.append_metrics(row(3, 3.0))
        folder.drop_metrics_after(2)  # in one process too: a lost learner is made anew
        folder.append_metrics(row(3, 3.5))
        folder.append_metrics(row(4, 4.0))
    found = read_tensorboard(path / TENSORBOARD_DIR)
    steps = [(1, 0.1), (2, 0.2), (3, 3.5), (4, 4.0)]
    assert found["loss"] == [(step, pytest.approx(value)) for step, value in steps]
    assert found["policies/cart_0/kl"][-1] == (4, pytest.approx(2.0))
    assert set(found) == {"iteration", "loss", "policies/cart_0/kl"}


def test_a_sweep_has_a_series_for_each_trial(tmp_path: Path) -> None:
    config = load_experiment("dialogue/dpo")
    with RunFolder.create(config, tmp_path / "sweep") as folder, run_monitored(config, folder):
        folder.append_metrics(trial_row(1, "00000", 1, 0.5))
        folder.append_metrics(trial_row(2, "00001", 1, 0.6))
        folder.append_metrics(trial_row(3, "00000", 2, 0.4))
    tensorboard = folder.path / TENSORBOARD_DIR
    assert read_tensorboard(tensorboard / "00000")["loss"] == [
        (1, pytest.approx(0.5)),
        (2, pytest.approx(0.4)),
    ]
    assert read_tensorboard(tensorboard / "00001")["loss"] == [(1, pytest.approx(0.6))]


def test_a_series_is_known_by_one_id_for_ever(tmp_path: Path) -> None:
    config = load_experiment("dialogue/dpo")
    with RunFolder.create(config, tmp_path / "sweep") as folder:
        first, again, other = (
            TrackedSeries.begin(folder, trial_row(1, trial, 1, 0.5), None)
            for trial in ("00000", "00000", "00001")
        )
        whole = TrackedSeries.begin(folder, row(1, 0.5), None)
    assert first.trial_id == again.trial_id != other.trial_id
    assert whole.trial_id == read_tracking_id(folder.path)
    assert (str(first), str(whole)) == ("sweep-00000", "sweep")
    assert first.config["dpo.beta"] == 0.3 != whole.config["dpo.beta"]
    assert all(isinstance(value, str | int | float) for value in first.evaluated_params.values())
    assert first.advance(trial_row(9, "00000", 2, 0.5)) == 2
    assert first.is_before(trial_row(10, "00000", 2, 0.4))
    assert not first.is_before(trial_row(10, "00000", 3, 0.4))


def test_tensorboard_can_be_turned_off(tmp_path: Path) -> None:
    config = load_experiment("cartpole/ppo", ["tracking.tensorboard=false"])
    with RunFolder.create(config, tmp_path / "run") as folder, run_monitored(config, folder):
        folder.append_metrics(row(1, 0.5))
    assert not (folder.path / TENSORBOARD_DIR).exists()


def test_a_tracker_that_is_not_installed_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_none(name: str) -> None:
        return None

    monkeypatch.setattr("parley.platform.monitoring.trackers.find_spec", find_none)
    config = load_experiment("cartpole/ppo", ['tracking.callbacks=["aim"]'])
    with pytest.raises(ConfigError, match=r'pip install "aim>=3\.29"'):
        check_trackers(config)


def test_a_folder_named_like_a_tracker_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aim").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = find_spec("aim")
    assert found is not None
    if found.origin is not None:
        pytest.skip("Aim is installed")
    config = load_experiment("cartpole/ppo", ['tracking.callbacks=["aim"]'])
    with pytest.raises(ConfigError, match="not installed"):
        check_trackers(config)


def test_mlflow_reads_back_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    uri = (tmp_path / "store").as_uri()
    config = load_experiment(
        "dialogue/dpo", ['tracking.callbacks=["mlflow"]', f"tracking.mlflow.tracking_uri={uri}"]
    )
    with RunFolder.create(config, tmp_path / "run") as folder, run_monitored(config, folder):
        folder.append_metrics(trial_row(1, "00000", 1, 0.5))
        folder.append_metrics(trial_row(2, "00001", 1, 0.6))
        folder.append_metrics(trial_row(3, "00000", 2, 0.4))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("dialogue/dpo")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"run-00000", "run-00001"}
    history = client.get_metric_history(runs["run-00000"].info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 0.4)]
    first = runs["run-00000"]
    assert first.data.params["dpo.beta"] == "0.3"
    assert (
        first.data.tags["parley_run"]
        == json.loads((folder.path / "tracking.json").read_text())["id"]
    )
    assert first.info.status == "FINISHED"


def test_wandb_writes_its_files_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name, value in {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_MODE": "offline",
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "WANDB_CONFIG_DIR": str(tmp_path / "config"),
        "WANDB_DATA_DIR": str(tmp_path / "data"),
    }.items():
        monkeypatch.setenv(name, value)
    config = load_experiment(
        "cartpole/ppo", ['tracking.callbacks=["wandb"]', "tracking.wandb.mode=offline"]
    )
    path = tmp_path / "run"
    with RunFolder.create(config, path) as folder, run_monitored(config, folder):
        folder.append_metrics(row(1, 0.5))
        folder.append_metrics(row(2, 0.4))
    with RunFolder.resume(path) as folder, run_monitored(config, folder):
        folder.append_metrics(row(3, 0.3))
    written = sorted((path / "wandb").glob("offline-run-*/run-*.wandb"))
    known = json.loads((path / "tracking.json").read_text())["id"]
    assert len(written) == 2 and all(known in file.name for file in written)
    assert [read_wandb(file)["loss"] for file in written] == [[(1, 0.5), (2, 0.4)], [(3, 0.3)]]


def read_wandb(path: Path) -> Mapping[str, list[tuple[int, float]]]:
    """Figure -> steps and values, from W&B's own file, once its process has written all of it."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    found: dict[str, list[tuple[int, float]]] = {}
    Record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]
    records: list[Any] = []
    while not (records and records[-1].HasField("exit")):
        store = DataStore()
        store.open_for_scan(str(path))
        datas = iter(store.scan_data, None)
        records = [Record.FromString(data) for data in datas]
        store.close()
    for record in records:
        items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        for key, value in items.items():
            step = int(items["_step"])
            found.setdefault(key, []).append((step, float(value)))
    return found


def test_aim_reads_back_what_it_was_told(tmp_path: Path) -> None:
    aim = pytest.importorskip("aim.sdk")
    config = load_experiment(
        "cartpole/ppo", ['tracking.callbacks=["aim"]', f"tracking.aim.repo={tmp_path / 'repo'}"]
    )
    (tmp_path / "repo").mkdir()
    with RunFolder.create(config, tmp_path / "run") as folder, run_monitored(config, folder):
        folder.append_metrics(row(1, 0.5))
        folder.append_metrics(row(2, 0.4))
    (name,) = aim.Repo(str(tmp_path / "repo")).list_all_runs()
    # What is opened for reading alone shows nothing before Aim's own server has indexed it.
    run = aim.Run(name, repo=str(tmp_path / "repo"), system_tracking_interval=None)
    (metric,) = (one for one in run.metrics() if one.name == f"{PREFIX}loss")
    assert (run.experiment, list(metric.values.values_list())) == ("cartpole/ppo", [0.5, 0.4])
    assert run["hparams"]["env.num_carts"] == 1
    run.close()
