"""What remote processes raise reaches a person as their own error, once, with where to look."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from parley.platform.cluster.remote_errors import (
    RemoteError,
    explain_remote,
    explained,
    innermost_cause,
)
from parley.platform.errors import InputError


class Worker:
    """Fails in the ways in which workers fail."""

    def __init__(self, sound: bool = True) -> None:
        if not sound:
            raise RuntimeError("no such disk")

    def pid(self) -> int:
        return os.getpid()

    def raise_here(self) -> None:
        raise ValueError("no good")

    def refuse(self) -> None:
        raise InputError("data.path is empty; name a file")

    def ask(self, other: object) -> None:
        ray.get(other.raise_here.remote())  # type: ignore[attr-defined]

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


WORKER: Any = ray.remote(num_cpus=0.1)(Worker)


def failure(reference: object) -> BaseException:
    with pytest.raises(RayError) as caught:
        ray.get(reference)  # type: ignore[call-overload]
    return caught.value


def own_line(text: str) -> str:
    """`test_remote_errors.py:<line>` of the line of this file that holds `text`."""
    lines = Path(__file__).read_text().splitlines()
    return f"{Path(__file__).name}:{next(n for n, line in enumerate(lines, 1) if text in line)}"


def assert_points_to_log(told: str, pid: int) -> None:
    assert f"(process {pid})" in told
    log = told.rpartition("its log: ")[2]
    assert Path(log).is_file(), told
    assert str(pid) in Path(log).name


def test_an_error_is_told_by_its_type_message_place_and_log(local_ray: None) -> None:
    worker = WORKER.remote()
    pid = ray.get(worker.pid.remote())
    told = explain_remote(failure(worker.raise_here.remote()))
    assert told.startswith("ValueError: no good; at ")
    assert own_line('ValueError("no good")') in told
    assert "Traceback" not in told and "\n" not in told
    assert_points_to_log(told, pid)


def test_of_nested_calls_the_innermost_worker_is_named(local_ray: None) -> None:
    outer, inner = WORKER.remote(), WORKER.remote()
    pid = ray.get(inner.pid.remote())
    error = failure(outer.ask.remote(inner))
    assert isinstance(innermost_cause(error), ValueError)
    told = explain_remote(error)
    assert told.count("no good") == 1
    assert own_line('ValueError("no good")') in told
    assert_points_to_log(told, pid)


def test_a_killed_worker_and_one_that_cannot_be_built(local_ray: None) -> None:
    worker = WORKER.remote()
    pid = ray.get(worker.pid.remote())
    told = explain_remote(failure(worker.die.remote()))
    assert told.startswith("a worker died: ")
    assert "common causes" not in told
    assert_points_to_log(told, pid)
    told = explain_remote(failure(WORKER.remote(False).pid.remote()))
    assert "it could not be built: RuntimeError: no such disk" in told
    assert own_line('RuntimeError("no such disk")') in told


def test_an_explained_error_of_a_person_keeps_its_kind(local_ray: None) -> None:
    """Wrong input found by a worker is wrong input; all else names the process."""
    worker = WORKER.remote()
    with pytest.raises(InputError, match=r"^data\.path is empty; name a file$"), explained():
        ray.get(worker.refuse.remote())
    with pytest.raises(RemoteError, match=r"ValueError: no good; at .*its log: "), explained():
        ray.get(worker.raise_here.remote())
    with pytest.raises(KeyError), explained():
        raise KeyError("of this process")


def test_an_error_of_this_process_is_told_as_it_is() -> None:
    assert explain_remote(ValueError("no good")) == "ValueError: no good"
    assert explain_remote(InputError("write 3")) == "write 3"
