"""Self-play meets broken models, killed runners, Ctrl-C and wrong input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parley.platform.cli import main
from parley.platform.distort.player import TRAINING
from parley.platform.distort.run import DistortRun
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import make_dialogue_task
from parley.platform.distort.viewing.transcribing import FAULT_FILE
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.loading import load_language_model, save_language_model
from tests.faults.processes import descendants

ROOT = Path(__file__).parents[2]
TINY = [
    "stop.max_iterations=4",
    "dialogue.max_turns=4",
    "dialogue.max_reply_tokens=10",
    "rollouts.num_env_runners=2",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.dialogues_per_iteration=8",
    "learner.num_threads=1",
    "ppo.minibatch_size=4",
    "reward.calibration_dialogues=8",
    "evaluation.episodes=6",
    "evaluation.interval_iterations=0",
    "checkpoint.interval_iterations=2",
    "transcripts.keep_every=1",
    "transcripts.show_interval=0",
]
TIMES = {"seconds", "tokens_per_s", "env_steps_per_s", "sample_s", "learn_s", "outside_forward"}
RUNNER = "ray::DialogueEnvRunner"
POLL_S = 0.05


def models_of(folder: Path, competitor: Path | None = None) -> list[str]:
    return [f"distorter={folder}", f"competitor={competitor or folder}"]


def train(run: Path, *overrides: str) -> int:
    return main(["train", "dialogue/distort", "--run-dir", str(run), *TINY, *overrides])


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The rows so far; the last line may be in the making."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def untimed(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(run)]


@pytest.fixture
def broken(quick_model_folder: Path, tmp_path: Path) -> Path:
    """The quick model with NaN in the weights of a layer."""
    model = load_language_model(quick_model_folder)
    with torch.no_grad():
        name, weights = list(model.model.named_parameters())[-3]
        assert weights.dim() >= 1, name
        weights.view(-1)[0] = torch.nan
    save_language_model(model, tmp_path / "broken")
    return tmp_path / "broken"


def test_a_competitor_of_nan_ends_the_run_and_its_dialogue_is_kept(
    local_ray: None,
    quick_model_folder: Path,
    broken: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    assert train(run, *models_of(quick_model_folder, broken), "rollouts.num_env_runners=1") == 1
    error = capsys.readouterr().err
    fault = json.loads((run / FAULT_FILE).read_text())
    for part in ("'competitor'", "not finite", "iteration 1", str(run / FAULT_FILE), "sound"):
        assert part in error
    assert "Traceback" not in error
    assert (fault["iteration"], fault["seat"], fault["turn"]) == (1, "competitor", 1)
    assert "not finite" in fault["message"]
    for dialogue in fault["dialogues"]:
        assert dialogue["number"] in range(8)
        opener, reply = dialogue["text"].split("\n")
        assert opener and reply.startswith("D:")
        assert len(dialogue["tokens"]) > 2
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "failed"
    assert "FaultyDialogueError" in result["error"]


def said(run: DistortRun, numbers: range) -> dict[int, list[int]]:
    """Dialogue number -> all its ids, played with the weights of now."""
    rollouts = run.algorithm.play(TRAINING, 0, run.algorithm.draw_openers(numbers))
    return {d.number: d.tokens.tolist() for rollout in rollouts for d in rollout.dialogues}


def runner_pids(run: DistortRun) -> list[int]:
    """Process ids of the env runners that are up."""
    found: list[int] = run.algorithm.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )
    return found


@pytest.mark.slow
def test_killed_runners_change_nothing_that_is_said(
    local_ray: None, quick_model_folder: Path, tmp_path: Path
) -> None:
    """One between two requests, and then one in the middle of its dialogues."""
    config = load_experiment("dialogue/distort", [*models_of(quick_model_folder), *TINY])
    assert isinstance(config, DialogueDistortConfig)
    with RunFolder.create(config, tmp_path / "run") as folder:
        run = DistortRun(config, folder, make_dialogue_task(config, print))
        try:
            few, many = range(8), range(400)
            expected = said(run, few)
            assert len(expected) == 8
            first = runner_pids(run)
            os.kill(first[0], signal.SIGKILL)
            assert said(run, few) == expected
            all_of_them = said(run, many)
            victim = runner_pids(run)[0]
            killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {victim}"])
            assert said(run, many) == all_of_them
            assert killer.wait() == 0
            assert victim not in runner_pids(run)
            assert {number: all_of_them[number] for number in few} == expected
        finally:
            run.close()


def start(run: Path, *overrides: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal starts it."""
    call = [sys.executable, "-m", "parley.platform.cli", "train", "dialogue/distort"]
    return subprocess.Popen(
        [*call, "--run-dir", str(run), *TINY, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def wait_for_rows(process: subprocess.Popen[str], run: Path, num_rows: int) -> None:
    while len(read_rows(run)) < num_rows:
        assert process.poll() is None, process.communicate()
        time.sleep(POLL_S)


@pytest.mark.slow
def test_a_run_whose_runner_is_killed_and_which_is_stopped_equals_a_quiet_one(
    local_ray: None, quick_model_folder: Path, tmp_path: Path
) -> None:
    """A dead runner's share goes to the other one; Ctrl-C saves; --resume goes on."""
    models, num = models_of(quick_model_folder), 24
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(reference, *models, f"stop.max_iterations={num}") == 0
    process = start(run, *models, f"stop.max_iterations={num}")
    try:
        wait_for_rows(process, run, 3)
        victim = next(p for p, title in descendants(process.pid).items() if RUNNER in title)
        os.kill(victim, signal.SIGKILL)
        wait_for_rows(process, run, 6)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    result, rows = json.loads((run / "result.json").read_text()), read_rows(run)
    assert result["status"] == "stopped"
    assert 5 <= rows[-1]["iteration"] < num
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    assert run / result["checkpoint"] == checkpoint.path
    assert checkpoint.path.name == f"iteration_{rows[-1]['iteration']:06d}"
    assert main(["train", "dialogue/distort", "--run-dir", str(run), "--resume"]) == 0
    assert json.loads((run / "result.json").read_text())["status"] == "done"
    first = [
        json.loads((r / "transcripts.jsonl").read_text().split("\n")[7]) for r in (run, reference)
    ]
    assert first[0] == first[1]
    assert_close_rows(untimed(run), untimed(reference))


def assert_close_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same iterations with the same figures."""
    assert [row["iteration"] for row in found] == [row["iteration"] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("competitor_nll", "reward", "tokens", "env_steps", "eval_competitor_nll"):
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-4), (name, ours)


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_vocabulary(folder: Path) -> None:
    """A tokenizer of more ids than the model has."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    token = {"content": "<extra>", "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer["added_tokens"].append({"id": 10_000, **token, "normalized": False, "special": True})
    path.write_text(json.dumps(tokenizer))


DAMAGED = {
    "no_weights": (without_weights, ["there are no weights", "model.safetensors"]),
    "other_tokenizer": (without_vocabulary, ["tokenizer does not fit", "trained with"]),
}


def assert_refused(run: Path, capsys: pytest.CaptureFixture[str], parts: list[str]) -> None:
    """One paragraph of error, and nothing left behind."""
    error = capsys.readouterr().err
    for part in parts:
        assert part in error
    assert "Traceback" not in error
    assert len(error.strip().split("\n\n")) == 1
    assert not run.exists()


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_model_is_refused(
    damage: str, quick_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do, parts = DAMAGED[damage]
    folder, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(quick_model_folder, folder)
    do(folder)
    assert train(run, *models_of(quick_model_folder, folder)) == 2
    assert_refused(run, capsys, [*parts, str(folder)])


WRONG = {
    "competitor=nobody/knows-this": ["'nobody/knows-this'", "download it", "local folder"],
    "competitor=/no/such/folder": ["/no/such/folder", "no such folder"],
    "max_reply_tokens=0": ["dialogue.max_reply_tokens = 0", "at least 1"],
    "dialogue.window=11": ["opener", "dialogue.openers", "longer than the window"],
    'dialogue.order=["distorter","parrot"]': ["'parrot'", "competitor, distorter"],
    "reward.judge=distorter": ["reward.judge 'distorter' is trained"],
    "ppo.minibatch_size=9": ["ppo.minibatch_size 9", "dialogues_per_iteration 8"],
    "openers=/no/openers.txt": ["/no/openers.txt"],
}


@pytest.mark.parametrize(("override", "parts"), WRONG.items())
def test_wrong_input_is_refused(
    override: str,
    parts: list[str],
    quick_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    assert train(run, *models_of(quick_model_folder), override) == 2
    assert_refused(run, capsys, parts)


@pytest.mark.parametrize("text", ["", "\n\n", "Hello\n"], ids=["empty", "blank", "one"])
def test_too_few_openers_are_refused(
    text: str, quick_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None at all, or one that cannot be for training and for evaluation."""
    path, run = tmp_path / "openers.txt", tmp_path / "run"
    path.write_text(text)
    assert train(run, *models_of(quick_model_folder), f"openers={path}") == 2
    assert_refused(run, capsys, ["opener"])


@pytest.mark.slow
def test_figures_are_finite_where_replies_are_short(
    local_ray: None, quick_model_folder: Path, tmp_path: Path
) -> None:
    """Replies of one token have no pairs of tokens to be distinct."""
    run = tmp_path / "run"
    overrides = ["max_reply_tokens=1", "stop.max_iterations=1", "rollouts.num_env_runners=1"]
    assert train(run, *models_of(quick_model_folder), *overrides) == 0
    row = read_rows(run)[-1]
    assert np.isfinite([row[name] for name in ("reward", "competitor_nll", "kl")]).all()
