"""A real Prometheus scrapes a real cluster in which real runs train: all measures arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.monitoring.measures import (
    CHECKPOINT_SECONDS,
    CHECKPOINTS,
    RUNNER_ENV_STEPS,
    RUNNER_TOKENS,
    WEIGHTS_AGE_SECONDS,
    WEIGHTS_UPDATE,
    Measure,
    sources_of,
)
from parley.platform.settings.experiments import EXPERIMENTS, Kind
from tests.platform.monitoring.grafana_panels import expressions
from tests.platform.monitoring.prometheus_server import PrometheusServer
from tests.platform.monitoring.watched_cluster import CARTPOLE, FAST_REPORTS, training, wait_for
from tests.ray_head import RayHead

CARTS, SELF_PLAY, PRETRAINING = ("cartpole", "ppo"), ("dialogue", "ppo"), ("dialogue", "pretrain")
DISTORT = [
    "stop.max_iterations=100_000",
    "dialogue.max_turns=4",
    "dialogue.max_reply_tokens=8",
    "rollouts.num_env_runners=1",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.dialogues_per_iteration=8",
    "ppo.minibatch_size=4",
    "reward.calibration_dialogues=8",
    "evaluation.episodes=4",
    "evaluation.interval_iterations=0",
    "checkpoint.interval_iterations=2",
    "transcripts.show_interval=0",
]
PRETRAIN = [
    "data.num_dialogues=400",
    "model.vocab_size=400",
    "model.embed_size=32",
    "model.layers=1",
    "model.heads=2",
    "training.num_steps=1_000_000",
    "training.batch_tokens=512",
    "training.warmup_steps=5",
    "training.eval_interval=20",
]
DRIVERS = (CHECKPOINTS, CHECKPOINT_SECONDS)
RUNNERS = (WEIGHTS_AGE_SECONDS, WEIGHTS_UPDATE, RUNNER_ENV_STEPS)
PANELS = {
    "Iterations",
    "Environment steps",
    "Checkpoints",
    "Reward",
    "Return of greedy episodes",
    "Tokens per second",
    "Environment steps per second",
    "Environment steps of each runner",
    "Tokens of each runner",
    "Age of the weights at each runner",
    "Updates that each runner is behind",
    "KL divergence",
    "Entropy",
    "Policy loss",
    "Value loss",
    "Surprise of the competitor",
    "Seconds that a checkpoint takes",
}
"""Those of Grafana's dashboard that such runs fill."""
FIRST_SERIES_S, SERIES_S = 300.0, 200.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_measures_of_two_runs_arrive(tmp_path: Path, quick_model_folder: Path) -> None:
    models = [f"{seat}={quick_model_folder}" for seat in ("distorter", "competitor")]
    carts, talk = tmp_path / "runs" / "carts", tmp_path / "runs" / "talk"
    with RayHead(tmp_path / "head", num_cpus=4, environment=FAST_REPORTS) as head:
        environment = {**head.environment, "RAY_ADDRESS": head.address}
        with (
            PrometheusServer(tmp_path / "prometheus", head.session_folder.parent) as prometheus,
            training("cartpole/ppo", carts, environment, *CARTPOLE) as carts_run,
            training("dialogue/distort", talk, environment, *models, *DISTORT) as talk_run,
        ):
            runs = {carts.with_suffix(".log"): carts_run, talk.with_suffix(".log"): talk_run}
            wanted = _expected("cartpole/ppo/carts", CARTS, "carts", 2)
            wanted |= _expected("dialogue/distort/talk", SELF_PLAY, "distorter", 1, RUNNER_TOKENS)
            wait_for(lambda: _arrived(prometheus), wanted, FIRST_SERIES_S, runs)
            wait_for(lambda: _drawn(prometheus), PANELS, SERIES_S, runs)
    assert (carts / "tensorboard").is_dir()


def _expected(run: str, kind: Kind, policy: str, num_runners: int, *more: Measure) -> set[str]:
    """What a run has to show, as `_arrived` writes it."""
    rows = {measure.series for _, measure in sources_of(EXPERIMENTS[kind].measures)}
    driver = {*rows, *(measure.series for measure in DRIVERS)}
    runners = {measure.series for measure in (*RUNNERS, *more)}
    workers = [str(number) for number in range(1, num_runners + 1)]
    return {f"{name} {run} {policy} driver" for name in driver} | {
        f"{name} {run} {policy} {worker}" for name in runners for worker in workers
    }


def _arrived(prometheus: PrometheusServer) -> set[str]:
    series = prometheus.query('{__name__=~"ray_parley_.+"}')
    labels = [one["metric"] for one in series]
    return {f"{one['__name__']} {one['run']} {one['policy']} {one['worker']}" for one in labels}


def _drawn(prometheus: PrometheusServer) -> set[str]:
    """The panels that have series; Prometheus has understood the others too."""
    return {title for title, text in expressions().items() if prometheus.query(text)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_needs_no_ray_joins_a_cluster_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "speaker"
    with RayHead(tmp_path / "head", num_cpus=1, environment=FAST_REPORTS) as head:
        environment = {**head.environment, "RAY_ADDRESS": head.address}
        with (
            PrometheusServer(tmp_path / "prometheus", head.session_folder.parent) as prometheus,
            training("dialogue/pretrain", folder, environment, *PRETRAIN) as run,
        ):
            shown = [one for _, one in sources_of(EXPERIMENTS[PRETRAINING].measures)]
            shown = [one for _, one in sources_of(EXPERIMENTS[PRETRAINING].measures)]
            wanted = {
                f"{measure.series} dialogue/pretrain/speaker speaker driver"
                for measure in (*shown, *DRIVERS)
            }
            logs = {folder.with_suffix(".log"): run}
            wait_for(lambda: _arrived(prometheus), wanted, FIRST_SERIES_S, logs)
