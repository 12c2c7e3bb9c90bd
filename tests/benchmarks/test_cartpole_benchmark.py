"""The comparison runs its contestants and judges all by the same rules; times are not judged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parley.platform.control.evaluation import play_episodes
from parley.platform.control.settings import CartPoleEnvConfig

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import cartpole
from benchmarks.cartpole import Trial
from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.parley_ppo import load_settings
from benchmarks.contestants.score import Rules, ScoreSheet, play_greedy_episodes

ROOT = Path(__file__).parents[2]


def run_quickly(names: Sequence[str], tmp_path: Path) -> tuple[str, list[Trial]]:
    """What a quick run prints and writes."""
    file = tmp_path / "trials.json"
    call = [sys.executable, str(ROOT / "benchmarks" / "cartpole.py"), "--quick"]
    call += ["--json", str(file), "--only", *names]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, [Trial(**trial) for trial in json.loads(file.read_text())["trials"]]


def check_trials(trials: Sequence[Trial], names: Sequence[str]) -> None:
    assert [trial.name for trial in trials] == list(names)
    for trial in trials:
        assert trial.env_steps >= 2_048
        assert trial.train_seconds > 0 and trial.startup_seconds > 0
        assert trial.evaluations[-1]["env_steps"] == trial.env_steps
        assert 1 <= trial.evaluations[-1]["mean_return"] <= 500


def test_quick_run_of_stable_baselines3(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    printed, trials = run_quickly(["sb3"], tmp_path)
    check_trials(trials, ["sb3"])
    assert "SB3, zoo" in printed


@pytest.mark.slow
def test_quick_run_of_all_contestants(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    printed, trials = run_quickly(list(CONTESTANTS), tmp_path)
    check_trials(trials, list(CONTESTANTS))
    assert all(contestant.title in printed for contestant in CONTESTANTS.values())


class LeansOnAngle(nn.Module):
    """Pushes towards the side to which the pole falls, as far as 10 bins tell."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        bins = tokens[:, -2] - 4 - 2 * 10
        right = (bins >= 5).float()
        return torch.stack([1 - right, right], dim=1), torch.zeros(len(tokens))


def test_the_peers_are_evaluated_on_the_same_episodes_as_parley() -> None:
    rules = Rules(eval_episodes=8)
    env = CartPoleEnvConfig()
    own = play_episodes(
        {"carts": LeansOnAngle()}, ["carts"], env, rules.eval_episodes, rules.eval_seed + 1
    )
    peers = play_greedy_episodes(lambda states: (states[:, 2] >= 0).astype(np.int64), rules)
    assert own.returns.mean() == peers
    assert 20 < peers < 100


def test_a_sheet_is_due_at_every_interval_and_finished_when_solved() -> None:
    returns = iter([100.0, 300.0, 480.0])
    sheet = ScoreSheet(Rules(eval_interval=1_000, env_step_limit=9_000), launched_s=0.0)
    sheet.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.contestants.score.play_greedy_episodes", lambda *_: next(returns))
        for env_steps in (600, 1_200, 1_800, 4_100, 4_900, 5_500):
            sheet.add_training(env_steps, 2.0)
            sheet.evaluate_if_due(lambda states: np.zeros(len(states), np.int64))
            if sheet.is_finished:
                break
    assert [e.env_steps for e in sheet.evaluations] == [1_200, 4_100, 5_500]
    assert sheet.is_solved and sheet.train_seconds == 12.0


def test_parley_trains_by_its_experiment_and_the_rules_of_the_benchmark() -> None:
    rules = Rules()
    config = load_settings("mlp", 2, ScoreSheet(rules, launched_s=0.0))
    assert (config.policy, config.seed) == ("mlp", 2)
    assert config.stop.target_return == rules.target_return
    assert config.stop.max_env_steps == rules.env_step_limit
    assert config.evaluation.interval_env_steps == rules.eval_interval
    assert config.evaluation.selection_episodes == rules.eval_episodes


def trial(name: str, seed: int, seconds: float, is_solved: bool = True) -> Trial:
    return Trial(name, seed, is_solved, 10_000, seconds, 1.0, 0.5, 1, [])


def test_table_tells_solved_from_not_solved_and_judges_the_goals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trials = [
        *(trial("sb3", seed, seconds) for seed, seconds in enumerate((4.0, 5.0, 6.0))),
        *(trial("rllib", seed, 50.0, is_solved=seed == 0) for seed in range(3)),
        *(trial("mlp", seed, 4.5) for seed in range(3)),
        *(trial("dhmm_gpt2", seed, 20.0) for seed in range(3)),
    ]
    assert cartpole.best_peer_seconds(trials) == 5.0
    assert cartpole.median_seconds(trials)["rllib"] == math.inf
    cartpole.print_table(trials, Rules())
    rows = {line[:17].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    assert "1/3" in rows["RLlib, defaults"] and rows["RLlib, defaults"][-1] == "-"
    assert rows["parley mlp"][-1] == "0.90"
    cartpole.print_table(trials, Rules())
    printed = capsys.readouterr().out
    assert "goal: mlp within 1 x the best peer's 5.0 s: reached" in printed
    assert "goal: dhmm_gpt2 within 3 x the best peer's 5.0 s: missed" in printed
