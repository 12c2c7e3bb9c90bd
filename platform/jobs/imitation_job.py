"""The imitation job: episodes are recorded, Ray Train learns, this module plays, saves and reports.

The training worker goes on while the driver measures its last snapshot; the files of the run are
written in the order of the gradient steps all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import ray
import torch

from parley.envs.cartpole.episodes import EpisodeSet
from parley.platform.checkpoints.store import Checkpoint, CheckpointStore
from parley.platform.config.cartpole import CartPoleImitateConfig
from parley.platform.config.errors import ConfigError
from parley.platform.evaluation.cartpole import evaluate_path, play_episodes
from parley.platform.evaluation.curves import plot_imitation_curve
from parley.platform.jobs.cluster import connect_ray
from parley.platform.jobs.stopping import StopSignal
from parley.platform.learners.devices import gpus_per_learner
from parley.platform.learners.imitation_worker import ImitationTraining, Snapshot
from parley.platform.rollouts.cartpole_task import make_cartpole_task, policy_settings
from parley.platform.rollouts.episode_collection import (
    EpisodeDataError,
    load_episodes,
    record_episodes,
)
from parley.platform.telemetry.progress import Column, Goal, Progress
from parley.platform.telemetry.run_folder import RunFolder
from parley.policies.actor_critic import LanguageActorCritic
from parley.policies.building import build_policy, load_policy, save_policy

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
EPISODES_FILE, CURVE_FILE = "episodes.parquet", "learning_curve.png"
HELDOUT_KEYS = (
    "heldout_loss",
    "heldout_loss_state",
    "heldout_loss_action",
    "heldout_loss_done",
)


def run_imitation(
    config: CartPoleImitateConfig, run_folder: RunFolder, resume: bool
) -> dict[str, Any]:
    """Record or load episodes, learn their tokens, measure greedy control by the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        EpisodeDataError, ConfigError: `data.path` or the cluster does not fit.
        DivergedError, WorkersFailedError: training failed; the checkpoints so far stand.
    """
    recorded = _load_recorded(config, run_folder, resume)
    goal = Goal("iteration", config.training.num_steps)
    with StopSignal() as stop, Progress(COLUMNS, goal) as progress:
        with connect_ray(config.ray, _num_processes(config), progress):
            use_gpu = _check_resources(config)
            if recorded is None:
                with progress.status(f"recording {_num_episodes(config)} episodes"):
                    recorded = record_episodes(config.env, config.data, config.seed)
            run = ImitationRun(config, run_folder, recorded)
            if resume:
                run.restore()
            if not run.finished and not stop.received:
                _train(run, use_gpu, stop, progress)
        if stop.received and not run.finished:
            run.conclude_stopped()
        with progress.status(f"evaluating {config.evaluation.episodes} episodes"):
            return run.conclude()


def _train(run: ImitationRun, use_gpu: bool, stop: StopSignal, progress: Progress) -> None:
    """Take in snapshots until the training ends."""
    progress.resume_from(run.snapshot.step)
    training = run.start_training(use_gpu)
    asked = False
    with progress.status("training"):
        for snapshot in training.snapshots():
            row = None if snapshot is None else run.take_in(snapshot)
            if row is not None:
                progress.update(row)
            if stop.received and not asked:
                training.request_stop()
                asked = True


class ImitationRun:
    """The state of one imitation run between snapshots.

    Args:
        config: the experiment.
        run_folder: where everything is written, the episodes at once.
        episodes: to learn from and to measure on.
    """

    def __init__(
        self, config: CartPoleImitateConfig, run_folder: RunFolder, episodes: EpisodeSet
    ) -> None:
        self.config = config
        self.run_folder = run_folder
        self.training_episodes, self.heldout_episodes = _split(config, episodes)
        if not (run_folder.path / EPISODES_FILE).exists():
            episodes.save(run_folder.path / EPISODES_FILE)
        self.settings = policy_settings(config.env, config.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            policy = build_policy(config.policy, self.settings)
        assert isinstance(policy, LanguageActorCritic)
        self.policy = policy
        task = make_cartpole_task(config.env)
        self.module_of_cart = [task.module_of_agent[cart] for cart in task.agent_ids]
        self.store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
        self.best: dict[str, Any] | None = None
        self.snapshot = Snapshot(0, self._weights())

    @property
    def finished(self) -> bool:
        """Whether all gradient steps are done."""
        return self.snapshot.step >= self.config.training.num_steps

    def start_training(self, use_gpu: bool) -> ImitationTraining:
        """Let workers go on from the newest snapshot."""
        return ImitationTraining(
            self.config,
            self.settings,
            self.training_episodes,
            self.heldout_episodes,
            self.snapshot,
            use_gpu,
        )

    def take_in(self, snapshot: Snapshot) -> dict[str, Any] | None:
        """Play with, record and save a snapshot; give its row of metrics where it has one."""
        self.snapshot = snapshot
        self.policy.language_model.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in snapshot.weights.items()}
        )
        if snapshot.row is None:
            self._save(None)
            return None
        row = {**snapshot.row, **self._play()}
        self.run_folder.append_metrics(row)
        is_best = self.best is None or _rank(row) > _rank(self.best)
        if is_best:
            self.best = {key: row[key] for key in ("iteration", "eval_return", *HELDOUT_KEYS)}
        self._save(row["eval_return"] if is_best else None)
        return row

    def restore(self) -> None:
        """Go on from the newest sound checkpoint; later rows of metrics are dropped."""
        checkpoint = self.store.find("last")
        if checkpoint is None:
            self.run_folder.drop_metrics_after(0)
            return
        state = checkpoint.read_trainer_state()
        policy = load_policy(next(iter(checkpoint.policy_folders.values())))
        self.policy.load_state_dict(policy.state_dict())
        self.best = state["best"]
        self.snapshot = Snapshot(weights=self._weights(), **state["snapshot"])
        self.run_folder.drop_metrics_after(self.snapshot.step)

    def conclude(self) -> dict[str, Any]:
        """Measure the best policy on fresh episodes, draw the curve, write the result."""
        checkpoint = self.store.find("best")
        assert checkpoint is not None, "a finished run has saved"
        return self._write_result("done", checkpoint, self._measure(checkpoint))

    def conclude_stopped(self) -> NoReturn:
        """Draw the curve so far and write the result of a run that may go on.

        Raises:
            KeyboardInterrupt: always; that is what stopped it.
        """
        rows = self.run_folder.read_metrics()
        checkpoint = self.store.find("best") or self.store.find("last")
        self._write_result("stopped", checkpoint, rows[-1] if rows else {})
        raise KeyboardInterrupt

    def _write_result(
        self, status: str, checkpoint: Checkpoint | None, metrics: dict[str, Any]
    ) -> dict[str, Any]:
        path = None if checkpoint is None else checkpoint.path.relative_to(self.run_folder.path)
        result = {
            "status": status,
            "seconds": self.snapshot.seconds,
            "metrics": metrics,
            "checkpoint": None if path is None else str(path),
            "device": self.snapshot.device,
        }
        rows = self.run_folder.read_metrics()
        if rows:
            plot_imitation_curve(rows, self.config, self.run_folder.path / CURVE_FILE)
        self.run_folder.write_result(result)
        return result

    def _measure(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The figures of the best policy: fresh greedy episodes and its held-out losses."""
        assert self.best is not None, "a finished run has rows"
        evaluation = self.config.evaluation
        return {
            **evaluate_path(checkpoint.path, evaluation.episodes, evaluation.seed),
            **{key: self.best[key] for key in HELDOUT_KEYS},
            "best_step": self.best["iteration"],
            "train_steps": self.snapshot.step,
            "train_env_steps": int(self.training_episodes.lengths.sum()),
            "train_seconds": self.snapshot.seconds,
        }

    def _play(self) -> dict[str, Any]:
        """Greedy episodes on seeds of their own, by which the best checkpoint is chosen."""
        evaluation = self.config.evaluation
        self.policy.eval()
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

    def _weights(self) -> dict[str, Any]:
        state = self.policy.language_model.state_dict()
        return {name: tensor.detach().numpy().copy() for name, tensor in state.items()}

    def _save(self, best_score: float | None) -> None:
        facts = {
            "policy": self.config.policy,
            "env": self.config.env.model_dump(),
            "module_of_cart": self.module_of_cart,
            "env_steps": int(self.training_episodes.lengths.sum()),
        }
        resumable = ("step", "optimiser", "loss_sum", "num_losses", "seconds", "device")
        state = {
            "best": self.best,
            "snapshot": {name: getattr(self.snapshot, name) for name in resumable},
        }
        self.store.save(self.snapshot.step, self._save_policies, facts, state, best_score)

    def _save_policies(self, folder: Path) -> None:
        for module_id in sorted(set(self.module_of_cart)):
            save_policy(self.policy, folder / module_id)


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    """What is larger for the better policy: greedy return, then the lower held-out loss."""
    return row["eval_return"], -row["heldout_loss"]


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


def _check_resources(config: CartPoleImitateConfig) -> bool:
    """Whether the workers get GPUs: where the settings ask for them and the cluster has them.

    Raises:
        ConfigError: the cluster can never hold the workers.
    """
    resources = ray.cluster_resources()
    num_workers = max(1, config.learner.num_learners)
    if resources.get("CPU", 0) < num_workers:
        raise ConfigError(
            f"learner.num_learners {num_workers} needs as many CPUs, but the Ray cluster counts "
            f"{resources.get('CPU', 0):g}; lower it or raise ray.num_cpus"
        )
    num_gpus = num_workers * gpus_per_learner(config.learner)
    return 0 < num_gpus <= resources.get("GPU", 0)


def _num_processes(config: CartPoleImitateConfig) -> int:
    return max(config.data.num_workers, config.learner.num_learners, 1)


def _num_episodes(config: CartPoleImitateConfig) -> int:
    return config.data.num_expert_episodes + config.data.num_random_episodes
