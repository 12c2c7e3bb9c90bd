"""The benchmark runs, counts equal work and prints its table; its times are not judged here."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "sampling.py"


def test_benchmark_measures_every_runner_with_every_policy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "sampling.json"
    runpy.run_path(str(BENCHMARK))["main"](["--quick", "--json", str(file)])
    assert "MultiCartPole, 8 x 2" in capsys.readouterr().out
    measured = {(row["policy"], row["runner"]) for row in json.loads(file.read_text())}
    runners = ("RLlib", "RLlib, no numpy", "parley")
    assert measured == {(policy, runner) for policy in ("trivial", "mlp") for runner in runners}


def test_missing_steps_are_noticed() -> None:
    count_env_steps = runpy.run_path(str(BENCHMARK))["count_env_steps"]
    with pytest.raises(RuntimeError, match="9 agent steps in 8 environment steps, 16 wanted"):
        count_env_steps([_Episode(8, {"cart_0": range(4), "cart_1": range(5)})], 16)


class _Episode:
    """As much of a `MultiAgentEpisode` as is counted."""

    def __init__(self, num_steps: int, agent_episodes: dict[str, range]) -> None:
        self.num_steps = num_steps
        self.agent_episodes = agent_episodes

    def __len__(self) -> int:
        return self.num_steps
