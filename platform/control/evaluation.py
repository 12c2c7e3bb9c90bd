"""How well CartPole policies balance: seeded greedy episodes, all at once, without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parley.platform.control.settings import CartPoleEnvConfig
from parley.platform.control.task import make_vector_env
from parley.platform.records import Metrics
from parley.platform.report.intervals import bootstrap_interval, unit_share_interval
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError, resolve_checkpoint
from parley.platform.terminal.activities import activity
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import load_policy

DEFAULT_EPISODES, DEFAULT_SEED = 100, 10_000


@dataclass(frozen=True)
class CartPolePlayers:
    """Policies and the environment they play in."""

    env: CartPoleEnvConfig
    policies: Mapping[str, nn.Module]
    module_of_cart: Sequence[str]
    checkpoint: Checkpoint

    @property
    def first(self) -> nn.Module:
        """The policy of the first cart."""
        return self.policies[self.module_of_cart[0]]


@dataclass(frozen=True)
class Episodes:
    """What greedy control earned."""

    returns: NDArray[np.float64]
    """[episodes * N]: one for each cart of each episode."""
    env_steps: int
    seconds: float
    num_others: NDArray[np.int64] | None
    """[episodes * N]: decisions in which a token that is no action had the highest logit; None
    where that was not watched, or the policies are no language models."""

    @property
    def other_token_rate(self) -> float | None:
        """`num_others` as a share of all decisions; every decision earns a return of 1."""
        return (
            None if self.num_others is None else float(self.num_others.sum() / self.returns.sum())
        )

    def metrics(self) -> Metrics:
        """The figures under their contract names."""
        metrics: Metrics = {
            "mean_return": float(self.returns.mean()),
            "mean_return_ci95": list(bootstrap_interval(self.returns)),
            "min_return": float(self.returns.min()),
            "episodes": len(self.returns),
            "env_steps": self.env_steps,
            "steps_per_s": self.env_steps / self.seconds,
        }
        if self.num_others is not None:
            metrics["other_token_rate"] = self.other_token_rate
            interval = unit_share_interval(self.num_others, self.returns)
            metrics["other_token_rate_ci95"] = list(interval)
        return metrics


def evaluate_path(path: Path, episodes: int | None = None, seed: int | None = None) -> Metrics:
    """Evaluate a run's best checkpoint, or the checkpoint at `path`.

    Raises:
        CheckpointError: there is no sound checkpoint.
    """
    players = load_players(path)
    result = play_episodes(
        players.policies,
        players.module_of_cart,
        players.env,
        episodes or DEFAULT_EPISODES,
        DEFAULT_SEED if seed is None else seed,
        watch_other_tokens=True,
    )
    return {**result.metrics(), "evaluation_env_steps": result.env_steps}


def load_players(path: Path) -> CartPolePlayers:
    """The policies of a run or checkpoint, and what they speak."""
    checkpoint = resolve_checkpoint(path)
    facts = checkpoint.read_policy_facts()
    try:
        policies = {name: load_policy(folder) for name, folder in checkpoint.policy_folders.items()}
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    env = CartPoleEnvConfig(**facts["env"])
    return CartPolePlayers(env, policies, facts["module_of_cart"], checkpoint)


def play_episodes(
    policies: Mapping[str, nn.Module],
    module_of_cart: Sequence[str],
    env: CartPoleEnvConfig,
    num_episodes: int,
    seed: int,
    watch_other_tokens: bool = False,
) -> Episodes:
    """Play `num_episodes` episodes side by side, always taking the likelier action.

    Args:
        policies: by module.
        module_of_cart: the module of each of the N carts.
        env: the environment.
        num_episodes: episodes.
        seed: episode i uses the stream of (seed, i).
        watch_other_tokens: also count how often another token would have won.
    """
    seeds = [np.random.SeedSequence([seed, index]) for index in range(num_episodes)]
    vector = make_vector_env(env, seeds, auto_reset=False)
    started = time.perf_counter()
    tokens = vector.reset()
    running = vector.running
    returns = np.zeros(running.shape)
    watched = watch_other_tokens and all(
        isinstance(policy, LanguageActorCritic) for policy in policies.values()
    )
    num_others = np.zeros(running.shape, np.int64) if watched else None
    env_steps = 0
    with (
        torch.inference_mode(),
        _one_thread(),
        activity("playing", env.max_steps, "game steps") as playing,
    ):
        while running.any():
            actions = np.zeros(running.shape, np.int64)
            for module_id, policy in policies.items():
                carts = np.array([m == module_id for m in module_of_cart])
                where = np.nonzero(running & carts)
                if where[0].size:
                    actions[where], outvoted = _choose(policy, tokens[where], watched)
                    if num_others is not None:
                        num_others[where] += outvoted
            outcome = vector.step(actions)
            env_steps += int(running.any(axis=1).sum())
            returns += outcome.rewards
            tokens, running = outcome.tokens, vector.running
            playing.advance()
    seconds = time.perf_counter() - started
    others = None if num_others is None else num_others.ravel()
    return Episodes(returns.ravel(), env_steps, seconds, others)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: on small batches more of them only wait for each other.

    On cores that other processes use too, they waited a hundred times longer than they computed.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _choose(
    policy: nn.Module, windows: NDArray[np.int64], watched: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_] | bool]:
    """The likelier action int64 [B] of each window, all other tokens being masked.

    Beside it bool [B]: where another token would have won; just False unless `watched`.
    """
    tokens = torch.from_numpy(windows)
    if not watched:
        return policy(tokens)[0].argmax(-1).numpy(), False
    assert isinstance(policy, LanguageActorCritic)
    logits = policy.next_token_logits(tokens)
    of_actions = logits[:, policy.action_tokens]
    others = logits.amax(-1) > of_actions.amax(-1)
    return of_actions.argmax(-1).numpy(), others.numpy()
