"""Requests to RLlib's env runners, for which it does not matter what happens to a runner meanwhile.

RLlib drops the answers that fail or come too late, in silence. Here an error of a runner's own code
is raised, a dead runner is left to RLlib, which brings it back, and a runner that does not answer
in time is ended, so that RLlib brings it back too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import CallResult

from parley.platform.engine.rllib.weight_receiver import RunnerFailure
from parley.platform.errors import ParleyError, display_path

RESTART_S = 60.0
"""How long a fresh runner may take to be there: a stopped process leaves after seconds, and loading
the libraries takes more on a busy machine."""


EARLY_S = 0.1
"""A wait for runners that ends earlier than this was interrupted: where a signal's handler raises,
Ray's wait may return what there is."""


class SamplingError(ParleyError):
    """No runner delivered, and none came back in time."""


class RunnerError(ParleyError):
    """A runner failed at its work, at which any other would fail too."""

    @classmethod
    def of(cls, worker_index: int, traceback: str) -> Self:
        """The error at the end of a traceback, its place in the code, and whose it is."""
        frames = re.findall(r'File "([^"]+)", line (\d+)', traceback)
        own = [frame for frame in frames if "site-packages" not in frame[0]] or frames
        place = f"; at {display_path(Path(own[-1][0]))}:{own[-1][1]}" if own else ""
        told = traceback.strip().splitlines()[-1]
        return cls(f"{told}{place}; in env runner {worker_index}")


@dataclass(frozen=True)
class Answers:
    """What came of one request."""

    values: list[Any]
    """Of the runners that answered."""
    silent: list[int] = field(default_factory=list)
    """Worker indices of those that did not in time; they have been ended."""


def ask_runners(
    group: EnvRunnerGroup, method: str, kwargs: Mapping[str, Any], timeout_s: float
) -> Answers:
    """Call a method of all runners that are up, and end those that do not answer in time.

    Raises:
        RunnerError: the method raised; a fresh runner would meet the same again.
        KeyboardInterrupt: a signal ended the wait.
    """
    manager = group._worker_manager
    asked = manager.healthy_actor_ids()
    if not asked:
        return Answers([])
    started = time.monotonic()
    results = list(
        manager.foreach_actor(
            "attempt",
            kwargs={"method": method, **kwargs},
            remote_actor_ids=asked,
            timeout_seconds=timeout_s,
        )
    )
    if len(results) < len(asked) and time.monotonic() - started < timeout_s - EARLY_S:
        raise KeyboardInterrupt
    values = [result.get() for result in results if result.ok]
    for value in values:
        if isinstance(value, RunnerFailure):
            raise RunnerError.of(value.worker_index, value.traceback)
    answered = {cast("CallResult", result).actor_id for result in results}
    silent = sorted(set(asked) - answered)
    for index in silent:
        # A stopped process too is gone some seconds later: the raylet kills what does not leave.
        ray.kill(manager.actors()[index], no_restart=False)
        manager.set_actor_state(index, healthy=False)
    return Answers(values, silent)


class Patience:
    """How long to go on without any delivery: one timeout, and one more for fresh runners.

    Args:
        timeout_s: how long a request may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.renew()

    def renew(self) -> None:
        """Something was delivered."""
        self._deadline = time.monotonic() + self._timeout_s
        self._extended = False

    def note(self, answers: Answers) -> None:
        """Take account of a request's outcome."""
        if answers.values:
            self.renew()
        elif answers.silent and not self._extended:
            self._deadline = time.monotonic() + RESTART_S + self._timeout_s
            self._extended = True

    @property
    def is_over(self) -> bool:
        """Whether to give up."""
        return time.monotonic() > self._deadline
