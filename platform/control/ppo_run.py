"""The PPO job: RLlib trains, this module evaluates, checkpoints, reports and resumes.

The loop reads as data flows: iterate, evaluate, record, save, stop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from parley.platform.cluster.connection import connect_ray
from parley.platform.control.algorithm import WindowPPO, build_config
from parley.platform.control.evaluation import evaluate_path, play_episodes
from parley.platform.control.plots import plot_learning_curve
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.control.warm_start import WarmStart, load_warm_start
from parley.platform.engine.rllib.recovery import (
    attended,
    iterate_until_stopped,
    recover,
)
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopOverdue, StopSignal
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.platform.terminal.quiet import quiet_rllib
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
LOSSES = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
CURVE_FILE = "learning_curve.png"


def run_ppo(config: CartPolePPOConfig, run_folder: RunFolder, resume: bool) -> dict[str, Any]:
    """Train to `stop.max_env_steps` or `stop.target_return`; measure the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        CheckpointError, ConfigError: `init_from` or the checkpoint to resume does not fit.
    """
    _check_step_limit(config)
    checkpoint = CheckpointStore(run_folder.checkpoints).find("last") if resume else None
    warm_start = load_warm_start(config) if config.init_from and checkpoint is None else None
    goal = Goal("env_steps", config.stop.max_env_steps)
    quiet_rllib()
    store = CheckpointStore(run_folder.checkpoints)
    with StopSignal(config.checkpoint.stop_grace_s) as stop, Progress(COLUMNS, goal) as progress:

        def attempt(checkpoint: Checkpoint | None) -> PPORun:
            with progress.status(f"starting {config.rollouts.num_env_runners} env runners"):
                run = PPORun(config, run_folder, stop.interrupting)
            with attended(run):
                if checkpoint is not None:
                    run.restore(checkpoint)
                elif warm_start is not None:
                    run.start_from(warm_start)
                run_folder.drop_metrics_after(run.iteration)
                progress.resume_from(run.env_steps)
                iterate_until_stopped(run, stop, progress)
            return run

        with connect_ray(config.ray, _num_processes(config), progress):
            run = recover(attempt, checkpoint, store, config.learner.max_restarts, progress)
        with progress.status(f"evaluating {config.evaluation.episodes} episodes"):
            return run.conclude(stopped=stop.received)


class PPORun:
    """The state of one PPO run between iterations.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        interrupting: makes the block in which an iteration may be given up.
    """

    def __init__(
        self,
        config: CartPolePPOConfig,
        run_folder: RunFolder,
        interrupting: Interrupting = nullcontext,
    ) -> None:
        self.config = config
        self.interrupting = interrupting
        self.run_folder = run_folder
        self.task = make_cartpole_task(config.env)
        settings = policy_settings(config.env, config.model)
        self.algorithm = cast("WindowPPO", build_config(config, self.task, settings).build_algo())
        self.algorithm.copy_updates_over_s = config.checkpoint.stop_grace_s / 2
        self.module_of_cart = [self.task.module_of_agent[cart] for cart in self.task.agent_ids]
        self.policies: dict[str, nn.Module] = {
            module_id: build_policy(config.policy, settings)
            for module_id in sorted(set(self.module_of_cart))
        }
        self.store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
        self.iteration = 0
        self.seconds = 0.0
        self.returns: deque[float] = deque(maxlen=RETURN_WINDOW)
        self.best_return: float | None = None
        self.solved: dict[str, float] | None = None
        self.next_evaluation = config.evaluation.interval_env_steps
        self._saved_iteration = 0

    @property
    def env_steps(self) -> int:
        """Environment steps so far, those of a warm start included."""
        return self.algorithm.num_env_steps

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

    def iterate(self) -> dict[str, Any]:
        """One iteration: sample, learn, perhaps evaluate and save; its row of metrics."""
        started = time.perf_counter()
        before = self.env_steps
        with self.interrupting():
            results = self.algorithm.train()["learners"]
        self.iteration += 1
        self.returns.extend(self.algorithm.returns)
        train_seconds = time.perf_counter() - started
        evaluation = self._evaluate_if_due()
        self.seconds += time.perf_counter() - started
        row = {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            "steps_per_s": (self.env_steps - before) / train_seconds,
            "sample_s": self.algorithm.times.sample_s,
            "learn_s": self.algorithm.times.learn_s,
            "num_episodes": len(self.algorithm.returns),
            "mean_return": float(np.mean(self.returns)) if self.returns else None,
            **_summarise_losses(results, list(self.policies)),
            **evaluation,
        }
        # Before the checkpoint: resuming drops rows that are ahead of it, but cannot make them up.
        self.run_folder.append_metrics(row)
        if self._is_new_best(evaluation):
            self.save(best_score=self.best_return)
        elif self.iteration % self.config.checkpoint.interval_iterations == 0:
            self.save()
        return row

    def save(self, best_score: float | None = None) -> None:
        """Write a checkpoint of this iteration, unless there is one."""
        if self._saved_iteration == self.iteration and best_score is None:
            return
        self._pull_weights()
        self.store.save(
            self.iteration, self._save_policies, self._facts(), self._state(), best_score
        )
        self._saved_iteration = self.iteration

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was written."""
        state = checkpoint.read_trainer_state()
        self.iteration = self._saved_iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.returns.extend(state["returns"])
        self.best_return = state["best_return"]
        self.solved = state["solved"]
        self.next_evaluation = state["next_evaluation"]
        self.algorithm.restore_training(state["algorithm"])

    def start_from(self, warm_start: WarmStart) -> None:
        """Begin with the weights of another run; its environment steps count."""
        weights = {module_id: warm_start.state_dict for module_id in self.policies}
        self.algorithm.load_weights(weights)
        self.algorithm.num_env_steps = warm_start.env_steps

    def close(self) -> None:
        """Stop runners and learners."""
        self.algorithm.stop()

    def conclude(self, stopped: bool) -> dict[str, Any]:
        """Measure the best policy on fresh episodes, draw the curve, write the result."""
        checkpoint = self.store.find("best") or self.store.find("last")
        result: dict[str, Any] = {
            "status": "stopped" if stopped else "done",
            "seconds": self.seconds,
            "metrics": {},
            "checkpoint": (
                None
                if checkpoint is None
                else str(checkpoint.path.relative_to(self.run_folder.path))
            ),
        }
        rows = self.run_folder.read_metrics()
        if rows:
            plot_learning_curve(rows, self.config, self.run_folder.path / CURVE_FILE)
        if stopped:
            result["metrics"] = rows[-1] if rows else {}
            self.run_folder.write_result(result)
            raise KeyboardInterrupt
        result["metrics"] = self._measure(checkpoint.path if checkpoint else None)
        self.run_folder.write_result(result)
        return result

    def _measure(self, checkpoint: Path | None) -> dict[str, Any]:
        assert checkpoint is not None, "a finished run has saved"
        evaluation = self.config.evaluation
        metrics = evaluate_path(checkpoint, evaluation.episodes, evaluation.seed)
        trained = {
            "train_env_steps": self.env_steps,
            "train_seconds": self.seconds,
            "train_steps_per_s": self.env_steps / self.seconds,
        }
        return metrics | trained | (self.solved or {})

    def _evaluate_if_due(self) -> dict[str, float]:
        """Greedy episodes on seeds of their own, by which the best checkpoint is chosen."""
        evaluation = self.config.evaluation
        interval = evaluation.interval_env_steps
        if not interval or not (self.env_steps >= self.next_evaluation or self._exhausted):
            return {}
        self._pull_weights()
        try:
            with self.interrupting():
                episodes = play_episodes(
                    self.policies,
                    self.module_of_cart,
                    self.config.env,
                    evaluation.selection_episodes,
                    evaluation.seed + 1,
                )
        except StopOverdue:
            return {}  # it is made up for after the next iteration
        self.next_evaluation = self.env_steps + interval
        mean_return = float(episodes.returns.mean())
        return {"eval_return": mean_return, "eval_seconds": episodes.seconds}

    def _is_new_best(self, evaluation: Mapping[str, float]) -> bool:
        """Whether an evaluation, if there was one, is better than all before; remembers it."""
        mean_return = evaluation.get("eval_return")
        if mean_return is None:
            return False
        if self.best_return is not None and self.best_return >= mean_return:
            return False
        self.best_return = mean_return
        target = self.config.stop.target_return
        if self.solved is None and target is not None and mean_return >= target:
            self.solved = {"solved_env_steps": self.env_steps}
        return True

    def _pull_weights(self) -> None:
        for module_id, weights in self.algorithm.policy_weights().items():
            self.policies[module_id].load_state_dict(weights)

    def _save_policies(self, folder: Path) -> None:
        for module_id, policy in self.policies.items():
            save_policy(policy, folder / module_id)

    def _facts(self) -> dict[str, Any]:
        return {
            "policy": self.config.policy,
            "env": self.config.env.model_dump(),
            **kind_facts(self.config),
            "module_of_cart": self.module_of_cart,
            "env_steps": self.env_steps,
        }

    def _state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "returns": list(self.returns),
            "best_return": self.best_return,
            "solved": self.solved,
            "next_evaluation": self.next_evaluation,
            "algorithm": self.algorithm.training_state(),
        }


def _check_step_limit(config: CartPolePPOConfig) -> None:
    batch_size = config.rollouts.batch_size
    if config.stop.max_env_steps < batch_size:
        raise ConfigError(
            f"stop.max_env_steps {config.stop.max_env_steps} does not suffice for one iteration of "
            f"{batch_size} steps (num_env_runners x num_envs_per_env_runner x "
            f"rollout_fragment_length); raise the first or lower one of the others"
        )


def _num_processes(config: CartPolePPOConfig) -> int:
    return config.rollouts.num_env_runners + config.learner.num_learners


def _summarise_losses(results: Mapping[str, Any], modules: Sequence[str]) -> dict[str, Any]:
    """The loss terms, averaged over the modules; with those of each where there are several."""
    losses = {module: {name: float(results[module][name]) for name in LOSSES} for module in modules}
    mean = {name: float(np.mean([terms[name] for terms in losses.values()])) for name in LOSSES}
    return {**mean, **({"policies": losses} if len(modules) > 1 else {})}
