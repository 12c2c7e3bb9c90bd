"""Greedy evaluation: seeded, episode by episode alike, counted right, with honest intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from parley.envs.cartpole.controllers import ExpertController
from parley.envs.cartpole.tokens import RESET, STEP_TOKENS, CartPoleTokenizer
from parley.platform.control.evaluation import evaluate_path, load_players, play_episodes
from parley.platform.control.plots import plot_learning_curve
from parley.platform.control.settings import CartPoleEnvConfig, CartPolePPOConfig
from parley.platform.report.intervals import bootstrap_interval, bootstrap_rate_interval
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.mlp import TokenMLP, TokenMLPConfig

MakeConfig = Callable[..., CartPolePPOConfig]
SaveUntrained = Callable[..., Checkpoint]

FINE = CartPoleEnvConfig(num_bins=40)


class ExpertPolicy(nn.Module):
    """The hand-written controller, given nothing but the newest tokens."""

    def __init__(self, num_bins: int) -> None:
        super().__init__()
        self.tokenizer = CartPoleTokenizer(num_bins)
        self.controller = ExpertController()

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        states = self.tokenizer.decode_state(tokens[:, -4:].numpy())
        right = torch.from_numpy(self.controller.right_probability(states))
        return torch.stack([1 - right, right], dim=1), torch.zeros(len(tokens))


class PushRight(nn.Module):
    """Falls after some ten steps."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[0.0, 1.0]]).expand(len(tokens), 2), torch.zeros(len(tokens))


def make_mlp(env: CartPoleEnvConfig, seed: int = 0) -> TokenMLP:
    torch.manual_seed(seed)
    tokenizer = CartPoleTokenizer(env.num_bins)
    config = TokenMLPConfig(vocab_size=tokenizer.vocab_size, num_tokens=STEP_TOKENS * env.window)
    return TokenMLP(config).eval()


def returns_of(policy: nn.Module, env: CartPoleEnvConfig, num: int, seed: int = 3) -> list[float]:
    episodes = play_episodes({"carts": policy}, ["carts"] * env.num_carts, env, num, seed)
    return episodes.returns.tolist()


def test_an_expert_that_sees_only_tokens_stands_to_the_end() -> None:
    episodes = play_episodes({"carts": ExpertPolicy(40)}, ["carts"], FINE, 20, seed=0)
    metrics = episodes.metrics()
    assert metrics["mean_return"] == metrics["min_return"] == 500.0
    assert metrics["mean_return_ci95"] == [500.0, 500.0]
    assert metrics["env_steps"] == 20 * 500


def test_the_metrics_of_the_contract() -> None:
    episodes = play_episodes({"carts": PushRight()}, ["carts"], FINE, 20, seed=0)
    metrics = episodes.metrics()
    assert metrics.keys() == {
        "mean_return",
        "mean_return_ci95",
        "min_return",
        "episodes",
        "env_steps",
        "steps_per_s",
    }
    assert 8.0 <= metrics["min_return"] <= metrics["mean_return"] <= 12.0
    low, high = metrics["mean_return_ci95"]
    assert low <= metrics["mean_return"] <= high
    assert metrics["episodes"] == len(episodes.returns) == 20
    assert metrics["env_steps"] == episodes.returns.sum()
    assert metrics["steps_per_s"] > 0


ENVS = {
    "plain": CartPoleEnvConfig(),
    "window and dither": CartPoleEnvConfig(window=3, dither=1.0),
    "two carts": CartPoleEnvConfig(num_carts=2, dither=0.5, max_steps=60),
}


@pytest.mark.parametrize("env", ENVS.values(), ids=ENVS)
def test_an_episode_depends_on_the_seed_and_its_own_number_only(env: CartPoleEnvConfig) -> None:
    policy = make_mlp(env)
    returns = returns_of(policy, env, 12)
    assert returns_of(policy, env, 12) == returns
    for num in (1, 5):
        assert returns_of(policy, env, num) == returns[: num * env.num_carts]
    assert returns_of(policy, env, 12, seed=4) != returns
    assert len(set(returns)) > 1


def test_every_cart_is_played_by_its_own_policy() -> None:
    env = CartPoleEnvConfig(num_bins=40, num_carts=3, max_steps=100)
    policies = {"wise": ExpertPolicy(40), "rash": PushRight()}
    episodes = play_episodes(policies, ["rash", "wise", "rash"], env, 5, seed=0)
    returns = episodes.returns.reshape(5, 3)
    assert (returns[:, 1] == 100).all()
    assert (returns[:, [0, 2]] < 15).all()
    assert episodes.env_steps == 5 * 100  # an environment goes on until its last cart ends


class ScriptedLanguage(LanguageActorCritic):
    """Prefers a state token wherever the window begins an episode, and pushes right always."""

    def next_token_logits(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens), self.language_model.config.vocab_size)
        logits[:, 3] = 1.0
        logits[tokens[:, -STEP_TOKENS] == RESET, 7] = 2.0
        return logits

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.next_token_logits(tokens)[:, self.action_tokens], torch.zeros(len(tokens))


def make_language_model(vocab_size: int) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    return DHMMGPT2ForCausalLM(
        DHMMGPT2Config(vocab_size=vocab_size, embed_size=16, heads=2, ff_hidden=16, num_states=3)
    ).eval()


def test_other_tokens_are_counted_where_they_would_have_won() -> None:
    env = CartPoleEnvConfig()
    policy = ScriptedLanguage(make_language_model(44))
    play: dict[str, Any] = {
        "policies": {"carts": policy},
        "module_of_cart": ["carts"],
        "env": env,
    }
    episodes = play_episodes(**play, num_episodes=10, seed=0, watch_other_tokens=True)
    metrics = episodes.metrics()
    assert metrics["other_token_rate"] == pytest.approx(10 / episodes.returns.sum())
    low, high = metrics["other_token_rate_ci95"]
    assert low <= metrics["other_token_rate"] <= high
    unwatched = play_episodes(**play, num_episodes=10, seed=0)
    assert unwatched.returns.tolist() == episodes.returns.tolist()
    assert "other_token_rate" not in unwatched.metrics()


def test_watching_other_tokens_changes_no_action() -> None:
    env = CartPoleEnvConfig(window=2)
    policy = LanguageActorCritic(make_language_model(44)).eval()
    watched, unwatched = (
        play_episodes({"carts": policy}, ["carts"], env, 10, 0, watch_other_tokens=watch)
        for watch in (True, False)
    )
    assert watched.returns.tolist() == unwatched.returns.tolist()


def test_policies_that_are_no_language_models_have_no_other_tokens() -> None:
    env = CartPoleEnvConfig()
    episodes = play_episodes({"carts": make_mlp(env)}, ["carts"], env, 3, 0, True)
    assert "other_token_rate" not in episodes.metrics()


def test_a_checkpoint_is_measured_as_its_policies_are(
    make_config: MakeConfig, save_untrained: SaveUntrained, tmp_path: Path
) -> None:
    overrides = ["env.num_carts=2", "env.shared_policy=false", "env.window=2", "env.dither=0.3"]
    config = make_config(*overrides)
    checkpoint = save_untrained(tmp_path, config)
    players = load_players(checkpoint.path)
    assert players.env == config.env
    assert list(players.policies) == ["cart_0", "cart_1"]
    assert players.first is players.policies["cart_0"]
    assert players.checkpoint == checkpoint
    expected = play_episodes(players.policies, ["cart_0", "cart_1"], config.env, 6, 9).metrics()
    found = evaluate_path(tmp_path, episodes=6, seed=9)
    assert found.pop("steps_per_s") > 0
    assert expected.pop("steps_per_s") > 0
    assert found.pop("evaluation_env_steps") == expected["env_steps"]
    assert found == expected
    assert evaluate_path(tmp_path, 6, seed=0)["mean_return"] != found["mean_return"]


def test_a_language_models_checkpoint_tells_its_other_token_rate(
    make_config: MakeConfig, save_untrained: SaveUntrained, tmp_path: Path
) -> None:
    save_untrained(tmp_path, make_config("policy=gpt2"))
    metrics = evaluate_path(tmp_path, episodes=3, seed=0)
    assert 0.0 <= metrics["other_token_rate"] <= 1.0


def test_a_policy_whose_files_disagree_is_a_checkpoint_error(
    make_config: MakeConfig, save_untrained: SaveUntrained, tmp_path: Path
) -> None:
    checkpoint = save_untrained(tmp_path, make_config())
    manifest = checkpoint.path / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["files"]["policies/carts/model.safetensors"]
    manifest.write_text(json.dumps(content))
    (checkpoint.path / "policies" / "carts" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the weights are missing"):
        load_players(checkpoint.path)
    manifest.write_text('{"files": {}}')
    with pytest.raises(CheckpointError, match=r"manifest\.json names no policy"):
        load_players(checkpoint.path)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_cover_the_true_mean_as_often_as_they_say(level: float) -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        low, high = bootstrap_interval(generator.gamma(4.0, 25.0, size=60), level)
        assert low < high
        covered.append(low <= 100.0 <= high)
    assert abs(np.mean(covered) - level) < 0.07


def test_rate_intervals_cover_the_true_rate_though_units_differ_in_size() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        trials = generator.integers(10, 500, size=60)
        rates = generator.beta(2.0, 8.0, size=60)  # episodes differ, mean 0.2
        low, high = bootstrap_rate_interval(generator.binomial(trials, rates), trials)
        covered.append(low <= 0.2 <= high)
    assert abs(np.mean(covered) - 0.95) < 0.07


def test_intervals_are_the_same_every_time_and_a_point_where_nothing_varies() -> None:
    values = np.arange(30.0)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(np.full(5, 7.0)) == (7.0, 7.0)
    assert bootstrap_interval(np.array([3.0])) == (3.0, 3.0)
    assert bootstrap_rate_interval(np.zeros(4), np.ones(4)) == (0.0, 0.0)


@pytest.mark.parametrize("num_rows", [0, 1, 30])
def test_a_learning_curve_is_drawn_whatever_the_rows_hold(
    num_rows: int, make_config: MakeConfig, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"env_steps": 64 * row, "mean_return": None if row < 3 else 20.0 + row}
        for row in range(num_rows)
    ]
    for row in rows[::5]:
        row["eval_return"] = 50.0
    plot_learning_curve(rows, make_config(), tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
