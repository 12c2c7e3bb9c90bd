"""Jobs on a Ray cluster: submit an experiment, follow its log, leave it running, or stop it.

Ray's own job client does all the talking. The code travels as the job's working directory (see
`job_package`), so that nodes need parley's dependencies but not parley.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import yaml
from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from parley.platform.cluster.access import refusal, show_token
from parley.platform.cluster.job_package import write_package
from parley.platform.cluster.ray_token import auth_mode
from parley.platform.errors import (
    EXIT_DONE,
    EXIT_RUN_FAILED,
    EXIT_WRONG_INPUT,
    InputError,
    ParleyError,
)

Say = Callable[[str], None]

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "RAY_JOB_STOP_WAIT_TIME_S": "30",
}
"""Of every process of a job: results that do not depend on hashes, and time to save at a stop."""
CHATTY_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Of Ray's client, which set levels of their own; what happens is told here."""
GOING_ON = "going_on"
"""Key of a job's metadata: the command that resumes its run."""
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
MAX_NAME_CHARS = 64
POLL_INTERVAL_S = 0.5
RECONNECTIONS = 5
"""Times that a log is taken up again after its connection broke, before the command gives up."""


class JobError(ParleyError):
    """A job that cannot be followed any more, or a cluster that refuses it."""


@dataclass(frozen=True)
class JobRequest:
    """What to submit."""

    command: str
    """`train` or `tune`."""
    experiment: str
    """A packaged name, or the name of `experiment_file`."""
    arguments: tuple[str, ...]
    """What follows on the job's command line."""
    run_dir: str
    """On the cluster; `~` is the home of whoever runs the driver there."""
    submission_id: str
    going_on: str = ""
    """The command that resumes the run after the job was stopped."""
    experiment_file: Path | None = None
    """Uploaded with the code, where the experiment is no packaged one."""
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    num_cpus: float | None = None
    """CPUs that Ray keeps for the driver; absent: none, and the driver runs on the head."""
    num_gpus: float | None = None
    """GPUs that Ray keeps for the driver, which then runs on a node that has them."""

    @property
    def entrypoint(self) -> str:
        """The shell command of the driver; it needs no parley on the node."""
        call = ["python", "-m", "parley.platform.cli", self.command, self.experiment]
        home, tilde, rest = self.run_dir.partition("~/")
        place = f"~/{shlex.quote(rest)}" if tilde and not home else shlex.quote(self.run_dir)
        return f"{shlex.join([*call, *self.arguments])} --run-dir {place}"


class JobServer:
    """The job server of a cluster.

    Args:
        address: URL of the cluster's dashboard.
        say: takes what there is to tell besides the log.

    Raises:
        InputError: nothing answers there, or the token is missing or wrong.
    """

    def __init__(self, address: str, say: Say) -> None:
        self.address = address
        self._say = say
        for name in CHATTY_LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            self._client = _connect(address)
        except AuthenticationError as error:
            self._raise_refused(error)
        except (ConnectionError, requests.RequestException) as error:
            raise InputError(
                f"no Ray job server answers at {address} ({_first_line(error)}); start a cluster, "
                f"or name the URL of its dashboard by --address or RAY_API_SERVER_ADDRESS"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"what answers at {address} is no Ray dashboard ({_first_line(error)}); name its "
                f"URL by --address, such as http://127.0.0.1:8265"
            ) from error

    def submit(self, request: JobRequest) -> None:
        """Upload the code and start the job.

        Raises:
            InputError: the cluster refuses it, such as for an id that has been used.
        """
        environment = {**ENVIRONMENT, **request.runtime_env.get("env_vars", {})}
        with tempfile.TemporaryDirectory(prefix="parley-job-") as folder:
            size_bytes = write_package(Path(folder), request.experiment_file)
            self._say(f"uploading {size_bytes / 1e6:.1f} MB of code to {self.address}")
            try:
                self._client.submit_job(
                    entrypoint=request.entrypoint,
                    submission_id=request.submission_id,
                    runtime_env={
                        **request.runtime_env,
                        "working_dir": folder,
                        "env_vars": environment,
                    },
                    metadata={
                        "experiment": request.experiment,
                        "run_dir": request.run_dir,
                        GOING_ON: request.going_on,
                    },
                    entrypoint_num_cpus=request.num_cpus,
                    entrypoint_num_gpus=request.num_gpus,
                )
            except AuthenticationError as error:
                self._raise_refused(error)
            except (RuntimeError, ValueError, TypeError) as error:
                raise InputError(
                    f"the cluster at {self.address} refuses job {request.submission_id}: "
                    f"{_last_line(error)}"
                ) from error

    def follow(self, submission_id: str) -> int:
        """Print the job's log until the job ends; its exit code.

        Raises:
            InputError: there is no such job.
            JobError: the connection broke too often; the job goes on.
            KeyboardInterrupt: the reader has gone; the job goes on.
        """
        self._details(submission_id)
        printed = 0
        for attempt in range(RECONNECTIONS + 1):
            try:
                printed = asyncio.run(self._tail(submission_id, printed))
                while not (details := self._details(submission_id)).status.is_terminal():
                    time.sleep(POLL_INTERVAL_S)
                return self._conclude(details)
            except (ClientError, RuntimeError, OSError) as error:
                self._say(f"the log's connection broke ({_first_line(error)})")
                time.sleep(POLL_INTERVAL_S * 2**attempt)
        raise JobError(
            f"the log of job {submission_id} cannot be followed any more, but the job may go on; "
            f"see {self.address}/#/jobs/{submission_id}, or follow it again"
        )

    def stop(self, submission_id: str) -> int:
        """Have the job save and end; wait until it has.

        Raises:
            InputError: there is no such job.
        """
        details = self._details(submission_id)
        if details.status.is_terminal():
            self._say(f"job {submission_id} has ended already: {details.status.value}")
            return EXIT_DONE
        self._client.stop_job(submission_id)
        self._say(f"stopping job {submission_id}; it saves first")
        while not (details := self._details(submission_id)).status.is_terminal():
            time.sleep(POLL_INTERVAL_S)
        self._say(f"job {submission_id}: {details.status.value}")
        self._say_going_on(details)
        return EXIT_DONE

    async def _tail(self, submission_id: str, printed: int) -> int:
        """Print what of the log was not printed yet; the number of its characters so far."""
        seen = 0
        async for text in self._client.tail_job_logs(submission_id):
            sys.stdout.write(text[max(0, printed - seen) :])
            sys.stdout.flush()
            seen += len(text)
            printed = max(printed, seen)
        return printed

    def _details(self, submission_id: str) -> JobDetails:
        try:
            return self._client.get_job_info(submission_id)
        except AuthenticationError as error:
            self._raise_refused(error)
        except requests.RequestException as error:
            raise JobError(f"the cluster at {self.address} no longer answers: {error}") from error
        except RuntimeError as error:
            raise InputError(
                f"the cluster at {self.address} knows no job {submission_id}; its jobs are listed "
                f"at {self.address}/#/jobs"
            ) from error

    def _conclude(self, details: JobDetails) -> int:
        """Say how a job ended; the exit code that it stands for."""
        name, status = details.submission_id, details.status
        self._say(f"job {name}: {status.value}")
        if status == JobStatus.SUCCEEDED:
            return EXIT_DONE
        if status == JobStatus.STOPPED:
            self._say_going_on(details)
        if status == JobStatus.FAILED and details.driver_exit_code is None:
            # The driver never ran, so that its log says nothing.
            self._say(f"{details.message}")
        wrong_input = details.driver_exit_code == EXIT_WRONG_INPUT
        return EXIT_WRONG_INPUT if wrong_input else EXIT_RUN_FAILED

    def _say_going_on(self, details: JobDetails) -> None:
        """Name the command that goes on, where parley has submitted the job."""
        if call := (details.metadata or {}).get(GOING_ON):
            self._say(f"resume its run by\n  {call}")

    def _raise_refused(self, error: AuthenticationError) -> NoReturn:
        raise refusal(self.address) from error


def _connect(address: str) -> JobSubmissionClient:
    """Ray's client; it shows the user's token where that is asked for and may be shown.

    Raises:
        AuthenticationError: the token is missing or wrong.
    """
    auth_mode()
    with _only(address):
        try:
            return JobSubmissionClient(address)
        except AuthenticationError:
            if not show_token(urlsplit(address).hostname or ""):
                raise
            return JobSubmissionClient(address)


@contextmanager
def _only(address: str) -> Iterator[None]:
    """Let Ray's variables name this address: they win over the one that its client is given."""
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        del os.environ[ADDRESS_VARIABLE]
        if before is not None:
            os.environ[ADDRESS_VARIABLE] = before


def new_submission_id(experiment: str) -> str:
    """A name that tells what runs and since when, and is not taken."""
    tail = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    head = experiment.replace("/", "-")[: MAX_NAME_CHARS - len(tail) - 1]
    return f"{head}-{tail}"


def read_runtime_env(path: Path) -> dict[str, Any]:
    """A runtime environment of Ray from a YAML or JSON file.

    Raises:
        InputError: it cannot be read, or names a working directory: parley sends its own.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--runtime-env {path}: cannot be read: {_last_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"--runtime-env {path}: not a table; write keys such as pip: [...]")
    if "working_dir" in content:
        raise InputError(
            f"--runtime-env {path}: working_dir is parley's own code here; leave the key out, or "
            f"submit by ray job submit --working-dir"
        )
    variables = content.get("env_vars", {})
    if not isinstance(variables, dict):
        raise InputError(f"--runtime-env {path}: env_vars is not a table of variables")
    content["env_vars"] = {str(name): str(value) for name, value in variables.items()}
    return content


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _last_line(error: BaseException) -> str:
    """The line of a server's answer that says what happened; above it stands its traceback."""
    lines = [line for line in str(error).replace("\\n", "\n").splitlines() if line.strip(" .\"'}")]
    return lines[-1].strip() if lines else type(error).__name__
