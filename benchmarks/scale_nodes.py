"""What it costs to share a run among machines: 1, 2 and 4 logical ones on this one.

    python -m benchmarks.scale_nodes [--quick] [--json FILE]

PPO on CartPole, one runner on each logical machine (`ray.cluster_utils`: processes and object
stores of their own, loopback between them), the learner in the main process on the first. Steps of
the environment wait, so that runners on two cores do not stand in each other's way more than on
machines of their own. Beside whole iterations the constants are measured one by one, from which
`benchmarks.scale_model` computes the same iterations and larger ones.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from parley.platform.terminal.quiet import quiet_libraries, quiet_rllib

quiet_libraries()

import numpy as np  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.rllib.env.single_agent_episode import SingleAgentEpisode  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from benchmarks.contestants.waiting_carts import make_waiting_task  # noqa: E402
from parley.platform.control.algorithm import (  # noqa: E402
    WindowAlgorithm,
    build_config,
)
from parley.platform.control.learner import credit_episodes  # noqa: E402
from parley.platform.control.runner import Rollout  # noqa: E402
from parley.platform.control.settings import CartPolePPOConfig  # noqa: E402
from parley.platform.control.task import policy_settings  # noqa: E402

MEGABYTE = 1e6
NUM_NODES = (1, 2, 4)
STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    num_steps: int = 64
    """Of each environment in an iteration."""
    num_envs: int = 16
    """Of each runner."""
    wait_s: float = 0.03
    """Of each step."""
    iterations: int = 6
    """Measured, after one that is not."""
    repetitions: int = 7
    """Of what is measured by itself."""
    transfer_mb: int = 32
    """Size of the object that is sent between machines."""
    embed_size: int = 64
    language_model: dict[str, int] | None = None
    """Sizes of a language model other than GPT-2's."""

    def config(self, num_runners: int) -> CartPolePPOConfig:
        """The experiment of so many runners."""
        return CartPolePPOConfig.model_validate(
            {
                "policy": "gpt2",
                "env": {"window": 2},
                "model": {"embed_size": self.embed_size, "heads": 2, "counter_heads": 0,
                          "filter_heads": 0},
                "rollouts": {
                    "num_env_runners": num_runners,
                    "num_envs_per_env_runner": self.num_envs,
                    "rollout_fragment_length": self.num_steps,
                },
                "ppo": {"num_epochs": 2, "minibatch_size": self.num_envs * self.num_steps // 2},
            }
        )  # fmt: skip


QUICK = Plan(
    num_steps=8,
    num_envs=8,
    wait_s=0.01,
    iterations=2,
    repetitions=2,
    transfer_mb=2,
    embed_size=16,
    language_model={"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 300},
)


class TimedPPO(WindowAlgorithm):
    """Keeps what the runners delivered."""

    rollouts: list[Rollout]

    def sample(self) -> list[Rollout]:
        """As ever."""
        self.rollouts = super().sample()
        return self.rollouts


@contextmanager
def machines(count: int) -> Iterator[list[str]]:
    """So many logical machines of one CPU each; gives their ids, the driver's first."""
    folder = tempfile.mkdtemp(prefix="parley-")
    os.environ["RAY_TMPDIR"] = folder
    cluster = Cluster()
    sizes: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    try:
        nodes = [cluster.add_node(**sizes, gcs_server_port=_free_port(), include_dashboard=False)]
        nodes += [cluster.add_node(**sizes) for _ in range(count - 1)]
        ray.init(cluster.address, logging_level=logging.ERROR, log_to_driver=False)
        yield [node.node_id for node in nodes]
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["RAY_TMPDIR"]


def measure_iterations(plan: Plan, num_nodes: int) -> dict[str, Any]:
    """Whole iterations of a run on so many machines, and what surrounds its calls."""
    config = plan.config(num_nodes)
    task = make_waiting_task(config.env, plan.wait_s)
    rllib = build_config(config, task, policy_settings(config.env, config.model))
    rllib.algo_class = TimedPPO
    algorithm = cast("TimedPPO", rllib.build_algo())
    try:
        algorithm.train()
        rows = []
        for _ in range(plan.iterations):
            started = time.perf_counter()
            algorithm.train()
            seconds = time.perf_counter() - started
            times = algorithm.times
            rows.append(
                {
                    "iteration_s": seconds,
                    "sample_s": times.sample_s,
                    "learn_s": times.learn_s,
                    "other_s": seconds - times.sample_s - times.learn_s,
                    "slowest_runner_s": max(r.seconds for r in algorithm.rollouts),
                    "runner_s": statistics.fmean(r.seconds for r in algorithm.rollouts),
                }
            )
        point: dict[str, Any] = {"num_nodes": num_nodes} | {
            name: statistics.median(row[name] for row in rows) for name in rows[0]
        }
        point["num_rows"] = sum(
            len(episode) for rollout in algorithm.rollouts for episode in rollout.episodes
        )
        group = algorithm.env_runner_group
        point["calls_s"] = _median(
            lambda: group.foreach_env_runner(_nothing, local_env_runner=False), plan.repetitions
        )
        if num_nodes == 1:
            point["constants"] = measure_constants(plan, algorithm)
    finally:
        algorithm.stop()
    return point


def measure_constants(plan: Plan, algorithm: TimedPPO) -> dict[str, float]:
    """What the parts of an iteration take by themselves."""
    rollouts, state = algorithm.rollouts, algorithm.runner_state()
    weights = sum(a.nbytes for arrays in state["rl_module"].values() for a in arrays.values())
    pickled = pickle.dumps(rollouts, protocol=5)
    episodes = [episode for rollout in rollouts for episode in rollout.episodes]
    num_rows = sum(len(episode) for episode in episodes)
    kept = []

    def publish() -> None:
        kept.append(ray.put(algorithm.runner_state()))

    def learn(copies: int) -> float:
        batch = [copy.deepcopy(episode) for _ in range(copies) for episode in episodes]
        started = time.perf_counter()
        _learn(algorithm, batch)
        return time.perf_counter() - started

    one, four = (
        statistics.median(learn(n) for _ in range(max(2, plan.repetitions // 2))) for n in (1, 4)
    )
    per_row = (four - one) / (3 * num_rows)
    return {
        "weight_bytes": weights,
        "publish_s": _median(publish, plan.repetitions),
        "episode_bytes_per_row": len(pickled) / num_rows,
        "pickle_s_per_mb": _median(
            lambda: pickle.dumps(rollouts, protocol=5), plan.repetitions
        ) / (len(pickled) / MEGABYTE),
        "unpickle_s_per_mb": _median(lambda: pickle.loads(pickled), plan.repetitions)
        / (len(pickled) / MEGABYTE),
        "learn_s_per_row": per_row,
        "learn_fixed_s": max(0.0, one - per_row * num_rows),
        "num_epochs": algorithm.config.num_epochs,
        "minibatch_size": float(cast("int", algorithm.config.minibatch_size)),
    }  # fmt: skip


def _learn(algorithm: TimedPPO, episodes: Sequence[SingleAgentEpisode]) -> None:
    """What follows sampling in an iteration."""
    reward_scale = algorithm.config.env_config["runner"].reward_scale
    credit_episodes(episodes, algorithm.gradient, reward_scale)
    algorithm.update_learners({"episodes": list(episodes)})


class Receiver:
    """An actor that fetches objects, and averages arrays with others of its kind."""

    def fetch(self, holder: list[Any]) -> int:
        """Bring an object to this machine."""
        return int(ray.get(holder[0]).nbytes)

    def address(self) -> str:
        """A free place to meet."""
        return f"tcp://127.0.0.1:{_free_port()}"

    def join(self, address: str, rank: int, num_ranks: int) -> None:
        """Meet the others, by gloo."""
        torch.distributed.init_process_group(
            "gloo", init_method=address, rank=rank, world_size=num_ranks
        )

    def all_reduce(self, num_bytes: int, repetitions: int) -> float:
        """Median seconds to add up float32 arrays of this size."""
        array = torch.ones(num_bytes // 4)
        return _median(lambda: torch.distributed.all_reduce(array), repetitions)


def measure_links(plan: Plan, node_ids: list[str]) -> dict[str, float]:
    """Objects from the first machine to 1 and to all others; sums of arrays over 2 of them."""
    others: list[Any] = [
        ray.remote(num_cpus=0)(Receiver)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
        .remote()
        for node_id in node_ids[1:]
    ]
    size = plan.transfer_mb * 10**6
    ray.get([other.fetch.remote([ray.put(np.zeros(1_000))]) for other in others])

    def send(num_receivers: int) -> Callable[[], None]:
        def fetch_all() -> None:
            holder = [ray.put(np.ones(size, np.uint8))]
            ray.get([other.fetch.remote(holder) for other in others[:num_receivers]])

        return fetch_all

    put_s = _median(lambda: ray.put(np.ones(size, np.uint8)), plan.repetitions)
    found = {
        f"fetch_s_per_mb_{n}": (_median(send(n), plan.repetitions) - put_s) / plan.transfer_mb
        for n in (1, len(others))
    }
    address = ray.get(others[0].address.remote())
    ray.get([other.join.remote(address, rank, 2) for rank, other in enumerate(others[:2])])
    reduced = ray.get([o.all_reduce.remote(size, plan.repetitions) for o in others[:2]])
    return found | {
        "put_s_per_mb": put_s / plan.transfer_mb,
        "all_reduce_s_per_mb": max(reduced) / plan.transfer_mb,
    }


def measure_language_model(plan: Plan) -> dict[str, float]:
    """A gradient of a GPT-2 on one core, by the token; its size."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**(plan.language_model or {})))  # type: ignore[arg-type]
    tokens = torch.randint(0, model.config.vocab_size, (4, 64))

    def learn() -> None:
        model(tokens, labels=tokens).loss.backward()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    learn()
    seconds = _median(learn, max(2, plan.repetitions // 2))
    torch.set_num_threads(threads)
    return {
        "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
        "learn_s_per_token": seconds / tokens.numel(),
    }


def _nothing(runner: Any) -> None:
    """What a call takes that does nothing."""


def _median(call: Callable[[], Any], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(plan: Plan) -> dict[str, Any]:
    """Everything, as `scale_model` reads it."""
    points, links = [], {}
    for num_nodes in NUM_NODES:
        with machines(num_nodes) as node_ids:
            points.append(measure_iterations(plan, num_nodes))
            if num_nodes == max(NUM_NODES):
                links = measure_links(plan, node_ids)
        show(points[-1])
    constants = points[0].pop("constants") | links
    return {
        "plan": {"num_steps": plan.num_steps, "num_envs": plan.num_envs, "wait_s": plan.wait_s},
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "points": points,
        "constants": constants,
        "language_model": measure_language_model(plan),
    }


def show(point: dict[str, Any]) -> None:
    """A line for each number of machines."""
    print(
        f"{point['num_nodes']} machines: iteration {point['iteration_s']:.3f} s, sampling "
        f"{point['sample_s']:.3f}, learning {point['learn_s']:.3f}, slowest runner "
        f"{point['slowest_runner_s']:.3f}, {point['num_rows'] / point['iteration_s']:.0f} steps/s",
        flush=True,
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--quick", action="store_true", help="tiny work; figures mean nothing")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    quiet_rllib()
    found = measure(QUICK if arguments.quick else Plan())
    print(json.dumps({name: found[name] for name in ("constants", "language_model")}, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the docstring."""


if __name__ == "__main__":
    main()
