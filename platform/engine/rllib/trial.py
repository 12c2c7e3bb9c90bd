"""A trial of a sweep over policy gradients: a run that hands its measures to the sweep.

It takes the iterations that a training with its settings takes. Its runners and learners are actors
as in any run; the sweep has set room aside for them, in which Ray puts what a trial makes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ray.rllib.algorithms.ppo import PPOConfig

from parley.platform.cluster.capacity import CPU
from parley.platform.cluster.devices import GPU
from parley.platform.engine.rllib.placement import demand_of
from parley.platform.engine.rllib.recovery import attended
from parley.platform.engine.rllib.run import PolicyRun
from parley.platform.engine.sweeps.resources import Bundle
from parley.platform.engine.sweeps.trial_ending import TrialEnding
from parley.platform.engine.sweeps.worker import SCORE, Report
from parley.platform.records import Row
from parley.platform.runs.checkpoints import open_checkpoint
from parley.platform.runs.stopping import Interrupting
from parley.platform.terminal.activities import activity
from parley.platform.terminal.progress import Progress
from parley.platform.terminal.quiet import quiet_rllib


def list_bundles(rllib: PPOConfig, own_cpus: float) -> list[Bundle]:
    """What the process of a trial takes, then each runner, then each learner: RLlib's order."""
    demand = demand_of(rllib)
    own = {CPU: own_cpus}
    if not demand.num_learners and rllib.num_gpus_per_learner:
        own[GPU] = float(rllib.num_gpus_per_learner)
    runners = [dict(demand.runner) for _ in range(demand.num_runners)]
    return [own, *runners, *(dict(demand.learner) for _ in range(demand.num_learners))]


def run_policy_trial(
    make_run: Callable[[Interrupting], PolicyRun],
    report: Report,
    restore: Path | None,
    ending: TrialEnding,
) -> Row:
    """Iterate to the run's end, or until the sweep ends it; the last row of metrics.

    Args:
        make_run: starts runners and learners.
        report: is given every row that has a score.
        restore: checkpoint to go on from.
        ending: ends the trial between measures.

    Raises:
        LearnerLostError: a learner died; the trial may be tried again.
        NonFiniteLossError: training diverged.
    """
    quiet_rllib()
    with activity("starting env runners"):
        run = make_run(ending.interrupting)
    with attended(run), run.watching():
        if restore is not None:
            run.restore(open_checkpoint(restore))
            row = None
        else:
            row = run.begin(Progress(()))
        with activity("training", unit="iterations", done=float(run.iteration)) as training:
            while row is None or _goes_on(run, row, report, ending):
                if run.finished:
                    break
                row = run.advance()
                training.advance()
    return row or {}


def _goes_on(run: PolicyRun, row: Row, report: Report, ending: TrialEnding) -> bool:
    """Report a row that has a score; whether there shall be another iteration."""
    score = run.score(row)
    run.new_best(row)  # before its checkpoint, which remembers it
    if score is not None and not report({**row, SCORE: score}, run.write):
        return False
    if ending.is_stopping():
        ending.save(run.iteration, run.write)
        return False
    return True
