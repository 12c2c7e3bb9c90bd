"""The imitation job: CartPole episodes are recorded, learned as tokens, and played greedily."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from parley.envs.cartpole.episodes import EpisodeSet
from parley.platform.control.episode_windows import ImitationTask
from parley.platform.control.episodes import (
    EpisodeDataError,
    load_episodes,
    record_episodes,
)
from parley.platform.control.evaluation import evaluate_path, play_episodes
from parley.platform.control.plots import plot_imitation_curve
from parley.platform.control.settings import CartPoleImitateConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.engine.next_token.run import (
    NextTokenPlan,
    NextTokenRun,
    train_next_token,
)
from parley.platform.engine.next_token.worker import TrainingJob
from parley.platform.records import Facts, Metrics, Result, Row
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import StopSignal
from parley.platform.terminal.progress import Column, Progress
from parley.policies.token.building import save_policy

COLUMNS = (
    Column("iteration", "step"),
    Column("steps_per_s", "steps/s", ".1f"),
    Column("train_loss", "train loss", ".3f"),
    Column("heldout_loss", "held-out loss", ".3f"),
    Column("heldout_loss_state", "state", ".3f"),
    Column("heldout_loss_action", "action", ".3f"),
    Column("heldout_loss_done", "DONE", ".3f"),
    Column("eval_return", "greedy return", ".1f"),
)
EPISODES_FILE = "episodes.parquet"
HELDOUT_KEYS = (
    "heldout_loss",
    "heldout_loss_state",
    "heldout_loss_action",
    "heldout_loss_done",
)


def run_imitation(config: CartPoleImitateConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Record or load episodes, learn their tokens, measure greedy control by the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        EpisodeDataError, ConfigError: `data.path` or the cluster does not fit.
        NonFiniteLossError, WorkersFailedError: training failed; the checkpoints so far stand.
    """
    recorded = _load_recorded(config, run_folder, resume)

    def make_run(stop: StopSignal, progress: Progress) -> ImitationRun:
        episodes = recorded
        if episodes is None:
            with stop.at_once(), progress.status(f"recording {_num_episodes(config)} episodes"):
                episodes = record_episodes(config.env, config.data, config.seed)
        return ImitationRun(config, run_folder, episodes)

    plan = NextTokenPlan(
        make_run=make_run,
        columns=COLUMNS,
        num_processes=max(config.data.num_workers, config.learner.num_learners, 1),
        measuring=f"evaluating {config.evaluation.episodes} episodes",
    )
    return train_next_token(config, plan, resume)


class ImitationRun(NextTokenRun):
    """CartPole episodes to learn, and greedy control as the measure.

    Args:
        config: the experiment.
        run_folder: where everything is written, the episodes at once.
        episodes: to learn from and to measure on.
    """

    def __init__(
        self, config: CartPoleImitateConfig, run_folder: RunFolder, episodes: EpisodeSet
    ) -> None:
        self.config = config
        self.training_episodes, self.heldout_episodes = _split(config, episodes)
        if not (run_folder.path / EPISODES_FILE).exists():
            episodes.save(run_folder.path / EPISODES_FILE)
        super().__init__(config, run_folder, policy_settings(config.env, config.model))
        task = make_cartpole_task(config.env)
        self.module_of_cart = [task.module_of_agent[cart] for cart in task.agent_ids]

    def make_job(self) -> TrainingJob:
        """Windows of the training episodes."""
        training = self.config.training
        task = ImitationTask(
            ray.put(self.training_episodes),
            ray.put(self.heldout_episodes),
            training.crop_steps,
            self.config.data.action_labels == "expert",
            training.batch_size,
            self.config.seed,
        )
        return TrainingJob(
            self.config.policy,
            dict(self.policy_settings),
            task,
            training,
            self.config.learner,
            self.config.seed,
            self.config.checkpoint.interval_iterations,
        )

    def measure_row(self) -> Row:
        """Greedy episodes on seeds of their own."""
        evaluation = self.config.evaluation
        episodes = play_episodes(
            dict.fromkeys(self.module_of_cart, self.policy),
            self.module_of_cart,
            self.config.env,
            evaluation.selection_episodes,
            evaluation.seed + 1,
            watch_other_tokens=True,
        )
        return {
            "eval_return": float(episodes.returns.mean()),
            "other_token_rate": episodes.other_token_rate,
            "eval_seconds": episodes.seconds,
        }

    def rank(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """Greedy return, then the lower held-out loss."""
        return row["eval_return"], -row["heldout_loss"]

    def facts(self) -> Facts:
        """The environment, and which cart is steered by which policy."""
        return {
            "policy": self.config.policy,
            "env": self.config.env.model_dump(),
            **kind_facts(self.config),
            "module_of_cart": self.module_of_cart,
            "env_steps": int(self.training_episodes.lengths.sum()),
        }

    def save_policies(self, folder: Path) -> None:
        """The same policy for every module."""
        for module_id in sorted(set(self.module_of_cart)):
            save_policy(self.policy, folder / module_id)

    def measure_best(self, checkpoint: Checkpoint) -> Metrics:
        """Fresh greedy episodes, and the held-out losses."""
        assert self.best is not None, "a finished run has rows"
        evaluation = self.config.evaluation
        return {
            **evaluate_path(checkpoint.path, evaluation.episodes, evaluation.seed),
            **{key: self.best[key] for key in HELDOUT_KEYS},
            "train_env_steps": int(self.training_episodes.lengths.sum()),
        }

    def draw(self, rows: Sequence[Mapping[str, object]], path: Path) -> None:
        """Losses above returns."""
        plot_imitation_curve(rows, self.config, path)


def _load_recorded(
    config: CartPoleImitateConfig, run_folder: RunFolder, resume: bool
) -> EpisodeSet | None:
    """The episodes of the run that goes on, or those of `data.path`; None: record them."""
    needs_labels = config.data.action_labels == "expert"
    own = run_folder.path / EPISODES_FILE
    if resume and own.exists():
        return load_episodes(own, config.env, needs_labels)
    if config.data.path:
        return load_episodes(Path(config.data.path), config.env, needs_labels)
    return None


def _split(config: CartPoleImitateConfig, episodes: EpisodeSet) -> tuple[EpisodeSet, EpisodeSet]:
    try:
        return episodes.split(1 - config.data.holdout, config.seed)
    except ValueError as error:
        raise EpisodeDataError(
            f"data.holdout {config.data.holdout}: {error}; choose another share"
        ) from error


def _num_episodes(config: CartPoleImitateConfig) -> int:
    return config.data.num_expert_episodes + config.data.num_random_episodes
