"""What a checkpoint says of how to act with it, and the page's example, which balances."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import parley
import parley.envs
from parley.envs.cartpole.tokens import CartPoleTokenizer
from parley.platform.cli import main
from parley.platform.control.settings import CartPoleEnvConfig
from parley.platform.control.task import policy_settings
from parley.platform.settings.network import ModelConfig
from parley.policies.dhmm_gpt2 import DHMMGPT2Config
from parley.policies.token.actor_critic import LanguageActorCritic, build_language_policy
from parley.policies.token.building import build_policy, load_policy, save_policy

PAGE = Path(parley.__file__).parents[1] / "docs" / "workflows" / "control.md"
ENV = CartPoleEnvConfig(num_bins=6, window=3, dither=0.5)


def saved_acting(policy: str, folder: Path) -> dict[str, Any]:
    save_policy(build_policy(policy, policy_settings(ENV, ModelConfig())), folder)
    loaded = load_policy(folder)
    model = loaded.language_model if isinstance(loaded, LanguageActorCritic) else loaded
    acting: dict[str, Any] = model.config.acting  # type: ignore[union-attr, assignment]
    return acting


@pytest.mark.parametrize("policy", ["dhmm_gpt2", "gpt2", "mlp"])
def test_a_checkpoint_says_how_to_act(policy: str, tmp_path: Path) -> None:
    acting = saved_acting(policy, tmp_path)
    env = gymnasium.make(acting["environment"], **acting["arguments"])
    assert env.observation_space.shape == (15,)
    assert env.reset(seed=0)[0][0] == acting["reset_token"]
    for action, token in enumerate(acting["action_tokens"]):
        env.reset(seed=0)
        assert env.step(action)[0][-5] == token


def test_the_limits_and_the_first_token_give_the_bins(tmp_path: Path) -> None:
    acting = saved_acting("gpt2", tmp_path)
    limits, num_bins = np.array(acting["state_limits"]), acting["arguments"]["num_bins"]
    states = np.random.default_rng(0).uniform(-limits, limits, (100, 4))
    bins = np.floor((states + limits) / (2 * limits / num_bins)).astype(int)
    tokens = acting["first_state_token"] + num_bins * np.arange(4) + bins
    assert np.array_equal(tokens, CartPoleTokenizer(num_bins).encode_state(states))


def test_plain_transformers_reads_it(tmp_path: Path) -> None:
    acting = saved_acting("dhmm_gpt2", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.acting == acting


def test_a_checkpoint_without_it_still_loads(tmp_path: Path) -> None:
    policy = build_language_policy(DHMMGPT2Config(vocab_size=44))
    save_policy(policy, tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(re.sub(r'\n *"acting": null,', "", config))
    assert '"acting"' not in (tmp_path / "config.json").read_text()
    assert load_policy(tmp_path).language_model.config.acting is None  # type: ignore[union-attr]
    tokens = torch.arange(10)[None]
    assert torch.equal(load_policy(tmp_path)(tokens)[0], policy.eval()(tokens)[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_of_the_readme_balances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, on the run that it names, after a short training."""
    monkeypatch.chdir(tmp_path)
    short = ["training.num_steps=500", "training.warmup_steps=50", "num_expert_episodes=64"]
    assert main(["train", "cartpole/imitate", "--run-dir", "runs/mine", *short]) == 0
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (example,) = (block for block in blocks if "gymnasium.make" in block)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 195.0
