"""What runs announce arrives where Prometheus would fetch it, with its tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from parley.platform.monitoring.measures import EVENTS, MEASURES, TAGS, sources_of
from parley.platform.monitoring.publisher import Publisher, policy_of
from parley.platform.monitoring.run_monitor import name_run, run_monitored
from parley.platform.monitoring.runner_meter import RunnerMeter, WeightsStamp, stamp_weights
from parley.platform.runs.announcements import (
    Announcement,
    CheckpointSaved,
    ProcessRestarted,
    RowAppended,
    announce,
    heard,
)
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.experiments import EXPERIMENTS
from parley.platform.settings.loading import load_experiment
from tests.platform.monitoring.conftest import Scrape

HERE = Path("run")


def test_every_experiment_has_measures_and_a_policy() -> None:
    names = [measure.name for measure in (*MEASURES, *EVENTS)]
    for kind, row in EXPERIMENTS.items():
        assert {"iteration"} < row.measures.keys() <= {*names}, kind
        assert len(sources_of(row.measures)) == len(row.measures)
    assert len(set(names)) == len(names)
    assert TAGS == ("run", "policy", "worker")


def test_policies_by_their_names() -> None:
    assert policy_of(load_experiment("cartpole/ppo")) == "carts"
    alone = load_experiment("cartpole/ppo", ["env.num_carts=2", "env.shared_policy=false"])
    assert policy_of(alone) == "all"
    assert policy_of(load_experiment("dialogue/distort")) == "distorter"
    assert policy_of(load_experiment("dialogue/dpo")) == "generator"
    assert policy_of(load_experiment("trace/addition")) == "tracer"


def test_rows_checkpoints_and_restarts_are_shown(scrape: Scrape) -> None:
    config = load_experiment("cartpole/ppo", ["env.num_carts=2", "env.shared_policy=false"])
    row = {
        "iteration": 3,
        "mean_return": 41.5,
        "steps_per_s": 2000.0,
        "kl": 0.25,
        "entropy": float("nan"),
        "unknown": 1.0,
        "policies": {"cart_0": {"kl": 0.5}, "cart_1": {"kl": 0.0}},
    }
    with heard(Publisher(config, "first")):
        announce(RowAppended(HERE, {**row, "entropy": 0.5}))
        announce(RowAppended(HERE, row))
        announce(CheckpointSaved(2.0))
        announce(CheckpointSaved(1.5))
        announce(ProcessRestarted("runner", "2"))
    own = 'policy="all",run="first",worker="driver"'
    wanted = {
        f"ray_parley_iteration{{{own}}}": 3,
        f"ray_parley_reward{{{own}}}": 41.5,
        f"ray_parley_env_steps_per_second{{{own}}}": 2000.0,
        f"ray_parley_kl{{{own}}}": 0.25,
        'ray_parley_kl{policy="cart_0",run="first",worker="driver"}': 0.5,
        'ray_parley_kl{policy="cart_1",run="first",worker="driver"}': 0.0,
        f"ray_parley_checkpoints_total{{{own}}}": 2,
        f"ray_parley_checkpoint_seconds_total{{{own}}}": 3.5,
        f"ray_parley_nonfinite_figures_total{{{own}}}": 1,
        'ray_parley_restarts_total{kind="runner",policy="all",run="first",worker="2"}': 1,
    }
    found = scrape(set(wanted))
    assert {name: value for name, value in found.items() if 'run="first"' in name} == wanted


def test_trials_are_workers(scrape: Scrape) -> None:
    with heard(Publisher(load_experiment("dialogue/dpo"), "sweep")):
        for trial, loss in (("00000", 0.6), ("00001", 0.5)):
            announce(
                RowAppended(
                    HERE,
                    {
                        "iteration": 1,
                        "trial": trial,
                        "loss": loss,
                        "eval_loss": 0.7,
                        "preference_accuracy": 0.75,
                        "cooperative_rate": 0.5,
                    },
                )
            )
    own = 'policy="generator",run="sweep",worker="00001"'
    wanted = {
        f"ray_parley_loss{{{own}}}": 0.5,
        f"ray_parley_heldout_loss{{{own}}}": 0.7,
        f"ray_parley_preference_accuracy{{{own}}}": 0.75,
        f"ray_parley_cooperative_rate{{{own}}}": 0.5,
    }
    found = scrape(set(wanted))
    assert wanted.items() <= found.items()
    assert found[f"ray_parley_loss{{{own.replace('00001', '00000')}}}"] == 0.6


def test_runners_show_their_pace_and_their_weights(scrape: Scrape, tmp_path: Path) -> None:
    class Runner:
        def __init__(self, worker: int) -> None:
            self.meter = RunnerMeter(worker)

        def play(self, stamp: WeightsStamp | None) -> None:
            self.meter.receive(stamp)
            self.meter.played(64, 512)

    remote: Any = ray.remote(num_cpus=0)(Runner)
    config = load_experiment("cartpole/ppo")
    with RunFolder.create(config, tmp_path / "mine") as folder, run_monitored(config, folder):
        assert name_run(config, folder.path) == "cartpole/ppo/mine"
        stamp = stamp_weights(7)
    assert stamp is not None
    assert (stamp.run, stamp.policy, stamp.update) == ("cartpole/ppo/mine", "carts", 7)
    assert stamp_weights(8) is None
    runners = [remote.remote(number) for number in (1, 2)]
    ray.get([runner.play.remote(stamp) for runner in runners])
    ray.get(runners[0].play.remote(None))
    tags = 'policy="carts",run="cartpole/ppo/mine",worker="{}"'
    wanted = {
        f"ray_parley_{name}{{{tags.format(worker)}}}": value
        for worker in (1, 2)
        for name, value in (
            ("weights_update", 7.0),
            ("runner_env_steps_total", 64.0),
            ("runner_tokens_total", 512.0),
        )
    }
    ages = {f"ray_parley_weights_age_seconds{{{tags.format(worker)}}}" for worker in (1, 2)}
    found = scrape({*wanted, *ages})
    assert wanted.items() <= found.items()
    assert all(found[age] > 0.0 for age in ages)


def test_a_listener_that_fails_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    heard_rows: list[Announcement] = []

    def broken(_: object) -> None:
        raise OSError("disk full")

    with heard(broken, heard_rows.append):
        announce(CheckpointSaved(1.0))
        announce(CheckpointSaved(2.0))
    announce(CheckpointSaved(3.0))
    assert heard_rows == [CheckpointSaved(1.0), CheckpointSaved(2.0)]
    told = capsys.readouterr().err
    assert told.count("disk full") == 1
    assert "broken failed and is left out from here on; the run goes on" in told
