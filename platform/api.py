"""The Python API: `from parley import train, evaluate, load_run`; see docs/tasks/python_api.md.

The same functions as behind the command line, with the same run folders and errors. Torch and Ray
are imported when something trains, is measured or loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from parley.platform.commands.evaluate import measure
from parley.platform.commands.going_on import RunStopped as RunStopped
from parley.platform.commands.running import train_experiment
from parley.platform.commands.train import RunRequest, refuse_sweep, run_recorded
from parley.platform.errors import InputError as InputError
from parley.platform.errors import ParleyError as ParleyError
from parley.platform.runs.checkpoints import CheckpointError, CheckpointStore, resolve_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError as ConfigError
from parley.platform.settings.loading import to_override
from parley.platform.settings.sections import ExperimentConfig

Overrides = str | Mapping[str, object]
"""`"ppo.clip=0.1"`, or any number of settings as `{"ppo.clip": 0.1, "policy": "mlp"}`."""

UNFINISHED = "unfinished"
"""Status of a run without a result: it goes on, or was killed."""


@dataclass(frozen=True)
class Run:
    """A run's folder, read anew at each question, so that a run that goes on can be watched."""

    path: Path

    @property
    def config(self) -> ExperimentConfig:
        """Its settings, checked: `run.config.seed`."""
        return RunFolder.open(self.path).config

    @property
    def status(self) -> str:
        """`done`, `stopped`, `failed` or `unfinished`."""
        return str(self.result.get("status", UNFINISHED))

    @property
    def result(self) -> dict[str, object]:
        """What `result.json` holds; empty while there is none."""
        return RunFolder.open(self.path).read_result() or {}

    @property
    def figures(self) -> dict[str, object]:
        """The final figures, by the names of `result.json`; empty while there are none."""
        metrics = self.result.get("metrics")
        return dict(metrics) if isinstance(metrics, Mapping) else {}

    @property
    def metrics(self) -> list[dict[str, object]]:
        """The rows of `metrics.jsonl`, one for each iteration; `pandas.DataFrame` takes them."""
        return RunFolder.open(self.path).read_metrics()

    @property
    def checkpoints(self) -> list[Path]:
        """The folders of the checkpoints, the oldest first."""
        return sorted(RunFolder.open(self.path).checkpoints.glob("iteration_*"))

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint that was measured best, else the newest; None where none was saved.

        Raises:
            CheckpointError: it is damaged.
        """
        store = CheckpointStore(RunFolder.open(self.path).checkpoints)
        checkpoint = store.find("best") or store.find("last")
        return None if checkpoint is None else checkpoint.path

    def policy(self, name: str | None = None) -> Any:
        """A trained policy of the best checkpoint, in evaluation mode, on the CPU.

        Args:
            name: of the module, where the run has several, such as the seat of a dialogue.

        Returns:
            Of dialogue runs a `LanguageModel`, with `model` and `tokenizer` of transformers; of
            others the torch module over windows of tokens.

        Raises:
            InputError: nothing was saved, or `name` is none of the run's policies.
        """
        folders = resolve_checkpoint(self.path).policy_folders
        if name is None and len(folders) == 1:
            (name,) = folders
        if name not in folders:
            raise InputError(
                f"{self.path} has no policy {name!r}; name one of {', '.join(folders)}"
            )
        return _load_policy(folders[name])


def train(
    experiment: str | Path,
    *overrides: Overrides,
    run_dir: str | Path | None = None,
    resume: bool = False,
    quick: bool = False,
    quiet: bool = False,
) -> Run:
    """Train as `parley train` does, and return the finished run.

    Args:
        experiment: a name of `parley list`, or a TOML file.
        overrides: settings to change.
        run_dir: the run's folder; None: `runs/<experiment>/<timestamp>`.
        resume: continue the run in `run_dir`, or the newest one of the experiment.
        quick: the same path at a tenth of the work.
        quiet: print nothing.

    Raises:
        ConfigError, InputError: wrong settings or input; nothing was started.
        ParleyError: the training failed for a reason that a person can act on; other errors come
            as they are. The run's folder keeps what was reached, in every case.
        RunStopped: a `KeyboardInterrupt`, after saving; its text names what goes on.
    """
    request = RunRequest(
        experiment=str(experiment),
        overrides=tuple(_as_overrides(overrides)),
        run_dir=None if run_dir is None else Path(run_dir),
        resume=resume,
        quick=quick,
    )
    with _ready(quiet):
        path, _ = run_recorded(request, train_experiment, refuse_sweep)
    return Run(path)


def evaluate(
    run: Run | str | Path,
    *,
    data: str | Path | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    quiet: bool = False,
) -> dict[str, object]:
    """Measure a run or a checkpoint as `parley evaluate` does; the figures by name.

    An interval stands next to its rate under the same name and `_ci95`.

    Args:
        run: a run, or the folder of a run or checkpoint.
        data: what to measure on, where the workflow measures on data.
        episodes: to play, or traces of each size; None: as the settings say.
        seed: of the episodes; None: as the settings say.
        quiet: print nothing.

    Raises:
        InputError: there is no such run, or it takes no `data`.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    with _ready(quiet):
        return dict(measure(path, episodes, seed, None if data is None else Path(data)))


def load_run(path: str | Path) -> Run:
    """An existing run.

    Raises:
        InputError: the folder is none that `train` or `parley train` wrote.
    """
    return Run(RunFolder.open(Path(path)).path)


def _as_overrides(overrides: tuple[Overrides, ...]) -> Iterator[str]:
    for given in overrides:
        if isinstance(given, str):
            yield given
        else:
            yield from (to_override(key, value) for key, value in given.items())


@contextmanager
def _ready(quiet: bool) -> Iterator[None]:
    """What the command line does before it starts, and silence where it is asked for."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with ExitStack() as stack:
        if quiet:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def _load_policy(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no policy over tokens; parley detect uses detectors")
    try:
        if (folder / "tokenizer.json").is_file():
            loading = import_module("parley.policies.dialogue.loading")
            return loading.load_language_model(str(folder), "cpu")
        policy = import_module("parley.policies.token.building").load_policy(folder)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    return cast("Any", policy).eval()
