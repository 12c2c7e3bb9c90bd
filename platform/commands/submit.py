"""`parley submit`: an experiment as a job on a Ray cluster; also follows and stops jobs.

The settings are checked here, before anything is sent.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from parley.platform.commands.running import find_sweep
from parley.platform.commands.train import DATA_KEY
from parley.platform.errors import EXIT_DONE, EXIT_INTERRUPTED, InputError
from parley.platform.runs.run_folder import RUNS_DIR
from parley.platform.runs.run_place import ROOT_VARIABLE
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.keys import field_types
from parley.platform.settings.loading import (
    load_experiment,
    override_values,
    setting_at,
)
from parley.platform.settings.names import check_name
from parley.platform.settings.packaged import list_experiments
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.settings.unread import refuse_sweep_settings
from parley.platform.terminal.quiet import quiet_libraries

SUBMISSION = "parley.platform.cluster.submission"
"""Imported when it is needed: it loads Ray."""
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PATH_KEYS = ("path", "conversations", "labelled", "openers", "init_from", "model", "repo")
"""Last parts of the settings that may be paths, and of no others."""
PATH_SETTINGS = ("judges.detector", "judges.judge")


def run_submit(arguments: argparse.Namespace) -> int:
    """Submit, follow or stop a job.

    Raises:
        InputError: wrong settings or arguments, no cluster, no such job; nothing was started.
        JobError: a job that cannot be followed any more.
    """
    address = _find_address(arguments.address)
    known = {name: getattr(arguments, name) for name in ("follow", "stop")}
    known = {name: check_name("job", job) for name, job in known.items() if job is not None}
    if len(known) + (arguments.experiment is not None) != 1:
        raise InputError("name one of EXPERIMENT, --follow ID and --stop ID")
    request = None if known else _make_request(arguments)
    quiet_libraries()
    server = import_module(SUBMISSION).JobServer(address, _say)
    if request is None:
        ((action, job),) = known.items()
        return int(server.stop(job)) if action == "stop" else _follow(server, job)
    server.submit(request)
    job = request.submission_id
    _say(f"job {job}; its run folder on the cluster: {_describe_place(request.run_dir)}")
    _say(f"watch it at {address}/#/jobs/{job}")
    if arguments.no_wait:
        print(job)
        return EXIT_DONE
    _say("Ctrl-C ends this command, not the job")
    return _follow(server, job)


def _make_request(arguments: argparse.Namespace) -> Any:
    """The checked job; loads Ray only after the settings were found sound."""
    overrides: list[str] = [*arguments.overrides]
    if arguments.data is not None:
        overrides.append(f"{DATA_KEY}={arguments.data}")
    config = load_experiment(arguments.experiment, overrides, quick=arguments.quick)
    if not arguments.tune:
        refuse_sweep_settings([*override_values(config, overrides)])
    if arguments.tune:
        find_sweep(config)
    if config.ray.address:
        raise ConfigError("ray.address is the job's own cluster; leave it out")
    if (arguments.resume or arguments.auto_resume) and arguments.run_dir is None:
        raise InputError("--resume needs the --run-dir of the run on the cluster")
    if arguments.submission_id is not None:
        check_name("submission id", arguments.submission_id)
    flags = [f"--{flag}" for flag in ("quick", "resume") if getattr(arguments, flag)]
    flags += ["--auto-resume"] if arguments.auto_resume else []
    submission = import_module(SUBMISSION)
    environment = {}
    if arguments.runtime_env is not None:
        environment = submission.read_runtime_env(arguments.runtime_env)
    submission_id = arguments.submission_id or submission.new_submission_id(config.experiment)
    is_packaged = arguments.experiment in list_experiments()
    file = None if is_packaged else Path(arguments.experiment)
    run_dir = str(arguments.run_dir or RUNS_DIR / config.experiment / submission_id)
    return submission.JobRequest(
        command="tune" if arguments.tune else "train",
        experiment=arguments.experiment if file is None else file.name,
        arguments=(*overrides, *_place_local_paths(config), *flags),
        run_dir=run_dir,
        going_on=_describe_going_on(arguments, overrides, run_dir),
        submission_id=submission_id,
        experiment_file=file,
        runtime_env=environment,
        num_cpus=arguments.cpus,
        num_gpus=arguments.gpus,
    )


def _describe_going_on(arguments: argparse.Namespace, overrides: list[str], run_dir: str) -> str:
    """The command that resumes the job's run, or begins it where it never began."""
    words = ["parley", "submit", *(["--address", arguments.address] if arguments.address else [])]
    words += [*(["--tune"] if arguments.tune else []), arguments.experiment, *overrides]
    words += [*(["--quick"] if arguments.quick else []), "--run-dir", run_dir, "--auto-resume"]
    if arguments.runtime_env is not None:
        words += ["--runtime-env", str(arguments.runtime_env)]
    for option in ("cpus", "gpus"):
        if (amount := getattr(arguments, option)) is not None:
            words += [f"--{option}", f"{amount:g}"]
    return shlex.join(words)


def _place_local_paths(config: ExperimentConfig) -> list[str]:
    """Overrides that make the settings' relative paths absolute, since the job runs elsewhere."""
    overrides = []
    for key in field_types(type(config), config.model_dump()):
        if key.rpartition(".")[2] not in PATH_KEYS and key not in PATH_SETTINGS:
            continue
        value = setting_at(config, key) or ""
        given = [value] if isinstance(value, str) else list(cast("Iterable[str]", value))
        placed = [str(Path(text).absolute()) if _is_here(text) else text for text in given]
        if placed != given:
            text = placed[0] if isinstance(value, str) else json.dumps(placed)
            overrides.append(f"{key}={text}")
            _say(f"{key}: {text} is not uploaded; the cluster's nodes must see it there")
    return overrides


def _is_here(text: str) -> bool:
    return bool(text) and not Path(text).is_absolute() and Path(text).exists()


def _describe_place(run_dir: str) -> str:
    """A run folder as a person finds it; `run_place` says where a relative one lies there."""
    if Path(run_dir).is_absolute() or run_dir.startswith("~"):
        return run_dir
    return f"{run_dir} below the nodes' {ROOT_VARIABLE}, else below ~/parley of the driver's"


def _follow(server: Any, submission_id: str) -> int:
    try:
        return int(server.follow(submission_id))
    except KeyboardInterrupt:
        _say(
            f"\nno longer following; job {submission_id} goes on. See or end it by\n"
            f"  parley submit --address {server.address} --follow {submission_id}\n"
            f"  parley submit --address {server.address} --stop {submission_id}"
        )
        return EXIT_INTERRUPTED


def _find_address(given: str | None) -> str:
    """The URL of the dashboard: as given, as Ray's variables say, else Ray's default.

    Raises:
        InputError: it is the URL of something else.
    """
    places = {"--address": given, **{name: os.environ.get(name) for name in ADDRESS_VARIABLES}}
    place, address = next(
        ((place, text) for place, text in places.items() if text), ("", DEFAULT_ADDRESS)
    )
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in ("http", "https") or not rest.strip("/"):
        raise InputError(
            f"{place} {address} is not the URL of a dashboard, where the job server answers; "
            f"write --address http://HOST:8265"
        )
    return address.rstrip("/")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
