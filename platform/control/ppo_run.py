"""The run that learns CartPole by policy gradients: greedy evaluations choose the best policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from parley.platform.control.algorithm import WindowAlgorithm, build_config
from parley.platform.control.evaluation import evaluate_path, play_episodes
from parley.platform.control.plots import plot_learning_curve
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.control.warm_start import WarmStart, load_warm_start
from parley.platform.engine.rllib.run import (
    LOSSES,
    Display,
    Iteration,
    PolicyRun,
    find_start,
    train_policies,
)
from parley.platform.records import Facts, Metrics, Result, Row, State
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.policies.token.building import build_policy, save_policy

COLUMNS = (
    Column("iteration", "iteration"),
    Column("env_steps", "env steps"),
    Column("steps_per_s", "steps/s"),
    Column("mean_return", "return", ".1f"),
    Column("eval_return", "greedy return", ".1f"),
    Column("entropy", "entropy", ".3f"),
)
RETURN_WINDOW = 100
"""Training episodes over which `mean_return` is taken."""


def run_ppo(config: CartPolePPOConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Train to `stop.max_env_steps` or `stop.target_return`; measure the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        CheckpointError, ConfigError: `init_from` or the checkpoint to resume does not fit.
    """
    check_step_limit(config)
    checkpoint = find_start(run_folder, resume)
    warm_start = load_warm_start(config) if config.init_from and checkpoint is None else None
    display = Display(
        COLUMNS,
        Goal("env_steps", config.stop.max_env_steps),
        f"evaluating {config.evaluation.episodes} episodes",
    )

    def make_run(interrupting: Interrupting) -> PPORun:
        return PPORun(config, run_folder, interrupting, warm_start)

    return train_policies(config, checkpoint, make_run, run_folder, display)


class PPORun(PolicyRun):
    """A run whose policies balance carts.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        interrupting: makes the block in which an iteration may be given up.
        warm_start: weights to begin with.
    """

    algorithm: WindowAlgorithm

    def __init__(
        self,
        config: CartPolePPOConfig,
        run_folder: RunFolder,
        interrupting: Interrupting = nullcontext,
        warm_start: WarmStart | None = None,
    ) -> None:
        self.config = config
        self.warm_start = warm_start
        self.task = make_cartpole_task(config.env)
        settings = policy_settings(config.env, config.model)
        algorithm = build_config(config, self.task, settings).build_algo()
        super().__init__(config, run_folder, cast("WindowAlgorithm", algorithm), interrupting)
        self.module_of_cart = [self.task.module_of_agent[cart] for cart in self.task.agent_ids]
        self.policies: dict[str, nn.Module] = {
            module_id: build_policy(config.policy, settings)
            for module_id in sorted(set(self.module_of_cart))
        }
        self.returns: deque[float] = deque(maxlen=RETURN_WINDOW)
        self.best_return: float | None = None
        self.solved: dict[str, float] | None = None
        self.next_evaluation = config.evaluation.interval_env_steps

    @property
    def finished(self) -> bool:
        """Whether the run has reached one of its ends."""
        target = self.config.stop.target_return
        reached = target is not None and (self.best_return or 0.0) >= target
        return reached or self._exhausted

    @property
    def _exhausted(self) -> bool:
        """Whether another iteration would take more steps than allowed."""
        next_steps = self.env_steps + self.config.rollouts.batch_size
        return next_steps > self.config.stop.max_env_steps

    def begin(self, progress: Progress) -> Row | None:
        """Begin with the weights of another run, if so; its environment steps count."""
        if self.warm_start is not None:
            weights = dict.fromkeys(self.policies, self.warm_start.state_dict)
            self.algorithm.load_weights(weights)
            self.algorithm.num_env_steps = self.warm_start.env_steps
        return None

    def measure(self, iteration: Iteration) -> Row:
        """Speed, returns and losses."""
        self.returns.extend(self.algorithm.returns)
        return {
            "steps_per_s": iteration.env_steps / iteration.seconds,
            "sample_s": self.algorithm.times.sample_s,
            "learn_s": self.algorithm.times.learn_s,
            "num_episodes": len(self.algorithm.returns),
            "mean_return": float(np.mean(self.returns)) if self.returns else None,
            **_summarise_losses(iteration.losses, list(self.policies)),
        }

    def evaluate_if_due(self) -> Row:
        """Greedy episodes on seeds of their own, by which the best checkpoint is chosen."""
        evaluation = self.config.evaluation
        is_due = self.env_steps >= self.next_evaluation or self._exhausted
        if not (evaluation.interval_env_steps and is_due):
            return {}
        self._pull_weights()
        episodes = play_episodes(
            self.policies,
            self.module_of_cart,
            self.config.env,
            evaluation.selection_episodes,
            evaluation.seed + 1,
        )
        self.next_evaluation = self.env_steps + evaluation.interval_env_steps
        return {"eval_return": float(episodes.returns.mean()), "eval_seconds": episodes.seconds}

    def score(self, row: Row) -> float | None:
        """The mean return of greedy episodes."""
        mean_return: float | None = row.get("eval_return")
        return mean_return

    def new_best(self, row: Row) -> float | None:
        """By the greedy return."""
        mean_return = self.score(row)
        if mean_return is None:
            return None
        if self.best_return is not None and self.best_return >= mean_return:
            return None
        self.best_return = mean_return
        target = self.config.stop.target_return
        if self.solved is None and target is not None and mean_return >= target:
            self.solved = {"solved_env_steps": self.env_steps}
        return mean_return

    def draw(self, rows: Sequence[Mapping[str, object]], path: Path) -> None:
        """Returns over environment steps."""
        plot_learning_curve(rows, self.config, path)

    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """Fresh episodes of the best policy."""
        assert checkpoint is not None, "a finished run has saved"
        evaluation = self.config.evaluation
        return {
            **evaluate_path(checkpoint.path, evaluation.episodes, evaluation.seed),
            "train_env_steps": self.env_steps,
            "train_seconds": self.seconds,
            "train_steps_per_s": self.env_steps / self.seconds,
            **(self.solved or {}),
        }

    def save_policies(self, folder: Path) -> None:
        """One folder a policy."""
        self._pull_weights()
        for module_id, policy in self.policies.items():
            save_policy(policy, folder / module_id)

    def facts(self) -> Facts:
        """The environment, and which cart is steered by which policy."""
        return {
            "policy": self.config.policy,
            "env": self.config.env.model_dump(),
            **kind_facts(self.config),
            "module_of_cart": self.module_of_cart,
            "env_steps": self.env_steps,
        }

    def own_state(self) -> State:
        """Recent returns, and what is known of the evaluations."""
        return {
            "returns": list(self.returns),
            "best_return": self.best_return,
            "solved": self.solved,
            "next_evaluation": self.next_evaluation,
        }

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over an `own_state`."""
        self.returns.extend(state["returns"])
        self.best_return = state["best_return"]
        self.solved = state["solved"]
        self.next_evaluation = state["next_evaluation"]

    def _pull_weights(self) -> None:
        for module_id, weights in self.algorithm.policy_weights().items():
            self.policies[module_id].load_state_dict(weights)


def check_step_limit(config: CartPolePPOConfig) -> None:
    """Refuse settings under which there is no iteration.

    Raises:
        ConfigError: `stop.max_env_steps` is less than one takes.
    """
    batch_size = config.rollouts.batch_size
    if config.stop.max_env_steps < batch_size:
        raise ConfigError(
            f"stop.max_env_steps {config.stop.max_env_steps} does not suffice for one iteration of "
            f"{batch_size} steps (num_env_runners x num_envs_per_env_runner x "
            f"rollout_fragment_length); raise the first or lower one of the others"
        )


def _summarise_losses(results: Mapping[str, Any], modules: Sequence[str]) -> Row:
    """The loss terms, averaged over the modules; with those of each where there are several."""
    losses = {module: {name: float(results[module][name]) for name in LOSSES} for module in modules}
    mean = {name: float(np.mean([terms[name] for terms in losses.values()])) for name in LOSSES}
    return {**mean, **({"policies": losses} if len(modules) > 1 else {})}
