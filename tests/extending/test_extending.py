"""What an extension touches: a toy of each kind, added to a copy of the tree and run there.

The files that are written or changed are counted: an algorithm is its file, its settings class and
a row; a policy or a token language a file and a row; an environment its folder, its slice of the
platform, a row and a TOML.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"
EXPERIMENTS = "platform/settings/experiments.py"
CARTS = (
    "rollouts.num_env_runners=1",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.rollout_fragment_length=16",
    "ppo.minibatch_size=32",
    "ppo.num_epochs=1",
    "stop.max_env_steps=128",
    "evaluation.interval_env_steps=64",
    "evaluation.episodes=2",
    "evaluation.selection_episodes=2",
)


class Copy:
    """A copy of the tracked tree, and what was touched in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.touched: set[str] = set()
        tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
        for name in (Path(line) for line in tracked):
            if name.parts[0] in ("parley", "platform", "envs", "policies", "tune_configs"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)

    def add(self, name: str, toy: str) -> None:
        """A new file, as it stands in `toys/`."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOYS / toy, self.folder / name)
        self.touched.add(name)

    def insert(self, name: str, before: str, text: str) -> None:
        """Text in an existing file, in front of the first place where `before` stands."""
        content = (self.folder / name).read_text(encoding="utf-8")
        assert before in content, f"{name} holds no {before!r}"
        (self.folder / name).write_text(content.replace(before, text + before, 1), encoding="utf-8")
        self.touched.add(name)

    def parley(self, *arguments: str) -> str:
        """What a command of the copy prints; it has to succeed."""
        environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(self.folder)}
        call = [sys.executable, "-m", "parley.platform.cli", *arguments]
        done = subprocess.run(
            call, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "tree")


@pytest.mark.slow
def test_a_policy_is_a_file_and_a_row(copy: Copy) -> None:
    copy.add("policies/token/constant.py", "policy.py")
    row = """    "constant": PolicyEntry(
        summary="the same answer everywhere",
        build="parley.policies.token.constant:build_constant",
        load="parley.policies.token.constant:load_constant",
        model_type="constant",
    ),
"""
    copy.insert("policies/token/table.py", '}\n"""Name -> the policy', row)
    assert "constant" in copy.parley("list")
    copy.parley("train", "cartpole/ppo", "policy=constant", *CARTS, "--run-dir", "run")
    assert "mean_return" in copy.parley("evaluate", "run", "--episodes", "2")
    assert copy.touched == {"policies/token/constant.py", "policies/token/table.py"}


@pytest.mark.slow
def test_a_token_language_is_a_file_and_a_row(copy: Copy) -> None:
    copy.add("envs/trace/negated.py", "language.py")
    row = """        LanguageEntry(
            "negated",
            "is the number of ones so far odd or even?",
            "parley.envs.trace.negated:Negated",
        ),
"""
    copy.insert("envs/trace/languages.py", '        LanguageEntry(\n            "counter"', row)
    assert "negated" in copy.parley("list")
    copy.parley(
        *("train", "trace/tracking", "language=negated", "--quick", "training.num_steps=20"),
        *("training.warmup_steps=2", "training.eval_interval=10", "evaluation.sizes=[8]"),
        *("evaluation.inputs_per_size=8", "evaluation.selection_inputs=8", "--run-dir", "run"),
    )
    assert "exact_match" in copy.parley("evaluate", "run")
    assert copy.touched == {"envs/trace/negated.py", "envs/trace/languages.py"}


@pytest.mark.slow
def test_an_algorithm_is_its_file_its_settings_and_a_row(copy: Copy) -> None:
    copy.add("platform/control/coin_run.py", "algorithm.py")
    settings = '''class CartPoleCoinConfig(CartPolePPOConfig):
    """Actions by a coin; nothing is learned."""

    algorithm: Literal["coin"] = "coin"  # type: ignore[assignment]


'''
    copy.insert("platform/control/settings.py", "class ImitationDataConfig", settings)
    row = """    ("cartpole", "coin"): _control(
        summary="actions by a coin",
        settings="parley.platform.control.settings:CartPoleCoinConfig",
        run="parley.platform.control.coin_run:run_coin",
        curves="parley.platform.control.curves:PPO_CURVES",
        measures={"iteration": "iteration", "reward": "mean_return"},
    ),
"""
    copy.insert(EXPERIMENTS, '    ("cartpole", "imitate")', row)
    mine = copy.folder / "mine.toml"
    mine.write_text('workflow = "cartpole"\nalgorithm = "coin"\n')
    copy.parley("train", str(mine), "evaluation.episodes=3", "--run-dir", "run")
    copy.parley("report", "run")
    assert copy.touched == {
        "platform/control/coin_run.py",
        "platform/control/settings.py",
        EXPERIMENTS,
    }


@pytest.mark.slow
def test_an_environment_is_a_folder_a_slice_a_row_and_a_toml(copy: Copy) -> None:
    copy.add("envs/coin/__init__.py", "environment/package.py")
    copy.add("envs/coin/rules.py", "environment/rules.py")
    copy.add("platform/coin/__init__.py", "environment/package.py")
    copy.add("platform/coin/settings.py", "environment/settings.py")
    copy.add("platform/coin/run.py", "environment/run.py")
    copy.add("tune_configs/coin/guess.toml", "environment/guess.toml")
    row = """    ("coin", "guess"): Experiment(
        summary="learns which side a coin falls on",
        settings="parley.platform.coin.settings:CoinConfig",
        run="parley.platform.coin.run:run_guess",
        evaluate="parley.platform.coin.run:evaluate_path",
        watch="parley.platform.coin.run:watch_path",
        curves="parley.platform.report.curve_table:SHARED_CURVES",
        measures={"iteration": "iteration", "reward": "reward"},
    ),
"""
    copy.insert(EXPERIMENTS, '    ("cartpole", "ppo")', row)
    assert "coin/guess" in copy.parley("list")
    copy.parley("train", "coin/guess", "--quick", "--run-dir", "run")
    assert "hit_rate" in copy.parley("evaluate", "run")
    copy.parley("report", "run")
    folders = {str(Path(name).parent) for name in copy.touched}
    assert folders == {"envs/coin", "platform/coin", "tune_configs/coin", "platform/settings"}
