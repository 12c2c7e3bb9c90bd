from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from parley.envs import ENVIRONMENTS, register_gymnasium

ROOT = Path(__file__).parents[2]


def test_every_row_of_the_table_can_be_loaded() -> None:
    for name, entry in ENVIRONMENTS.items():
        assert name == entry.id
        assert entry.summary
        assert issubclass(entry.load(), gymnasium.Env)


def test_registering_twice_changes_nothing() -> None:
    spec = gymnasium.spec("parley/TokenCartPole-v0")
    register_gymnasium()
    assert gymnasium.spec("parley/TokenCartPole-v0") is spec


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "parley.envs",
        "parley.envs.when_imported",
        "parley.envs.cartpole.tokens",
        "parley.envs.cartpole.vector",
        "parley.envs.cartpole.single",
        "parley.envs.cartpole.parallel",
        "parley.envs.cartpole.episodes",
        "parley.envs.trace.environment",
    ],
)
def test_imports_load_neither_ray_nor_torch(module: str) -> None:
    loaded = run_python(
        f"import sys, {module}; print([m for m in ('ray', 'torch', 'pygame') if m in sys.modules])"
    )
    assert loaded == "[]"


def test_the_tables_load_neither_gymnasium_nor_numpy() -> None:
    loaded = run_python(
        "import sys, parley.envs, parley.envs.trace.languages\n"
        "print([m for m in ('gymnasium', 'numpy') if m in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize("order", ["parley.envs, gymnasium", "gymnasium, parley.envs"])
def test_gymnasium_knows_the_single_agent_environments_by_name(order: str) -> None:
    """Whichever was imported first; and nothing of the waiting is left."""
    made = run_python(
        f"import {order}, sys\n"
        "print(gymnasium.make('parley/TokenCartPole-v0').spec.id)\n"
        "print(len([name for name in gymnasium.registry if name.startswith('parley/')]))\n"
        "print(gymnasium.__spec__.loader.__class__.__name__)\n"
        "print([f._name for f in sys.meta_path if 'parley' in type(f).__module__])"
    )
    waiting = "['ray.tune.registry']"
    assert made.splitlines() == ["parley/TokenCartPole-v0", "4", "SourceFileLoader", waiting]


def test_gymnasium_finds_the_environment_by_module_and_id() -> None:
    made = run_python(
        "import gymnasium; print(gymnasium.make('parley.envs:parley/TokenCartPole-v0').spec.id)"
    )
    assert made == "parley/TokenCartPole-v0"


@pytest.mark.parametrize("order", ["parley.envs, ray.tune", "ray.tune, parley.envs"])
def test_rllib_knows_the_multi_agent_environments_by_name(order: str) -> None:
    """Whichever was imported first; the entry is pickled by name, as for a runner elsewhere."""
    made = run_python(
        f"import {order}, sys\n"
        "from ray.tune.registry import ENV_CREATOR, _global_registry as table\n"
        "env = table.get(ENV_CREATOR, 'parley/MultiCartPole')({'num_carts': 3})\n"
        "print(type(env).__name__, len(env.possible_agents))\n"
        "print(table.contains(ENV_CREATOR, 'parley/Dialogue'))\n"
        "print([f for f in sys.meta_path if 'parley' in type(f).__module__])\n"
        "print(sys.modules['ray.tune.registry'].__spec__.loader.__class__.__name__)"
    )
    assert made.splitlines() == ["MultiCartPole 3", "True", "[]", "SourceFileLoader"]


@pytest.mark.slow
def test_the_documented_module_learns_dialogue_by_its_name(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "dialogue_env.md").read_text()
    (program,) = re.findall(r"^```python\n(import parley\.envs.*?)^```", text, re.M | re.S)
    small = "import ray\nray.init(num_cpus=2, include_dashboard=False)\n"
    (tmp_path / "example.py").write_text(small + program)
    call = [sys.executable, str(tmp_path / "example.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    returns = [float(line.split()[0]) for line in done.stdout.splitlines() if " of 4" in line]
    assert len(returns) == 8
    assert returns[0] < 1.5 and returns[-1] > returns[0] + 1.5, returns


@pytest.mark.slow
def test_multi_cart_pole_trains_by_its_name_in_runners_of_other_processes() -> None:
    trained = run_python(
        "import parley.envs, ray\n"
        "from ray.rllib.algorithms.ppo import PPOConfig\n"
        "from ray.rllib.connectors.env_to_module import FlattenObservations\n"
        "ray.init(num_cpus=2, include_dashboard=False)\n"
        "config = PPOConfig().environment('parley/MultiCartPole', env_config={'num_carts': 2})\n"
        "config.multi_agent(policies={'p'}, policy_mapping_fn=lambda agent, *_, **__: 'p')\n"
        "one_hot = lambda *_, **__: FlattenObservations(multi_agent=True)\n"
        "config.env_runners(num_env_runners=1, env_to_module_connector=one_hot)\n"
        "config.training(train_batch_size=64, minibatch_size=32)\n"
        "algorithm = config.build_algo()\n"
        "print('sampled', algorithm.train()['env_runners']['num_env_steps_sampled'] >= 64)\n"
        "algorithm.stop()"
    )
    assert trained.splitlines()[-1] == "sampled True"
