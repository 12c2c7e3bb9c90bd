"""Workers of Ray Train in a cluster: where they are, and that several take the steps of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parley.platform.engine.next_token.channel import Snapshot
from parley.platform.engine.next_token.placement import place_workers
from parley.platform.engine.next_token.training import NextTokenTraining
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import LearnerConfig
from parley.platform.trace.evaluation.measure import TraceTask
from parley.platform.trace.next_token_run import TraceRun
from tests.platform.cluster.nodes import logical_cluster, node
from tests.platform.trace.next_token_fixtures import make_config

STEPS = 6


def train(folder: Path, num_learners: int) -> Snapshot:
    """The last snapshot of a few steps; ends are checked by the job's own tests."""
    config = make_config(
        f"learner.num_learners={num_learners}",
        "training.mutation_noise=0.0",
        f"training.num_steps={STEPS}",
        f"training.eval_interval={STEPS}",
    )
    with RunFolder.create(config, folder) as run_folder:
        run = TraceRun(config, run_folder, TraceTask.from_config(config))
        use_gpu = place_workers(config.learner, 1, "the stream of traces")
        assert not use_gpu
        training = NextTokenTraining(run.make_job(), run.snapshot, use_gpu)
        found = [snapshot for snapshot in training.snapshots() if snapshot is not None]
    start = run.snapshot.weights
    assert max(np.abs(found[-1].weights[name] - start[name]).max() for name in start) > 1e-3
    return found[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_on_two_machines_take_the_steps_of_one(tmp_path: Path) -> None:
    """The machines count GPUs that torch does not see: the workers compute on their CPUs."""
    with logical_cluster(node(2, gpus=1), node(2, gpus=1)):
        one, two = train(tmp_path / "one", 1), train(tmp_path / "two", 2)
        assert one.step == two.step == STEPS
        assert one.device == two.device == "cpu"
        assert one.num_tokens == two.num_tokens
        assert one.weights.keys() == two.weights.keys()
        for name, expected in one.weights.items():
            np.testing.assert_allclose(two.weights[name], expected, rtol=0, atol=1e-5, err_msg=name)
        with pytest.raises(ConfigError, match=r"1 disk for each of 1 workers.*counts 0"):
            place_workers(LearnerConfig(resources={"disk": 1.0}))
        with pytest.raises(
            ConfigError, match=r"3 GPUs in all.*counts 2\. GPU: set learner.num_gpus"
        ):
            place_workers(LearnerConfig(num_learners=3, num_gpus_per_learner=1.0))
