from __future__ import annotations

import subprocess
import sys

import gymnasium
import pytest

from parley.envs import ENVIRONMENTS, register_gymnasium


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


def test_gymnasium_finds_the_environment_by_module_and_id() -> None:
    made = run_python(
        "import gymnasium; print(gymnasium.make('parley.envs:parley/TokenCartPole-v0').spec.id)"
    )
    assert made == "parley/TokenCartPole-v0"
