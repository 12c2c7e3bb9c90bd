"""A runner that dies in a run is counted, with its index."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from parley.platform.control.ppo_run import PPORun
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.monitoring.monitored_run import monitored
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from tests.platform.monitoring.conftest import Scrape
from tests.platform.monitoring.watched_cluster import CARTPOLE

MOST_ITERATIONS = 200


@pytest.mark.slow
def test_a_killed_runner_is_counted(scrape: Scrape, tmp_path: Path) -> None:
    config = load_experiment("cartpole/ppo", [*CARTPOLE, "evaluation.interval_env_steps=0"])
    assert isinstance(config, CartPolePPOConfig)
    with RunFolder.create(config, tmp_path / "run") as folder, monitored(config, folder, True):
        run = PPORun(config, folder)
        run.iterate()
        group = run.algorithm.env_runner_group
        ray.kill(group._worker_manager.actors()[2], no_restart=False)
        for _ in range(MOST_ITERATIONS):
            run.iterate()
            if group.num_remote_worker_restarts():
                break
        run.close()
    tags = 'kind="runner",policy="carts",run="cartpole/ppo/run",worker="2"'
    wanted = f"ray_parley_restarts_total{{{tags}}}"
    assert scrape({wanted})[wanted] == 1
