"""Watching a run's dialogues: the right ones, coloured only for eyes."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from parley.platform.cli import main
from parley.platform.distort.viewing import watch as dialogue_watch
from parley.platform.distort.viewing.watch import choose_iterations, watch_path
from parley.platform.errors import InputError
from parley.platform.runs.transcripts import (
    Transcript,
    TranscriptTurn,
    append_transcripts,
    format_transcript,
    title_of,
)


def dialogue(iteration: int, number: int = 0) -> Transcript:
    word = f"word{iteration}x{number}"
    turns = [
        TranscriptTurn("opener", "Hello", ["Hello"], [1]),
        TranscriptTurn("distorter", f"{word} \x1b[1m", [word, " \x1b[1m"], [2, 3], [0.5, 9.5]),
        TranscriptTurn("competitor", "", [], []),
    ]
    return Transcript(iteration, number, "competitor", turns, terminated=True, truncated=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two dialogues in every tenth iteration up to 90."""
    run = tmp_path / "run"
    (run / "checkpoints" / "iteration_000010").mkdir(parents=True)
    (run / "config.toml").write_text('workflow = "dialogue"\nalgorithm = "ppo"\n')
    items = [dialogue(iteration, number) for iteration in range(0, 100, 10) for number in (0, 5)]
    append_transcripts(run / "transcripts.jsonl", items)
    return run


def titles(text: str) -> list[str]:
    return [line.split(", with")[0] for line in text.splitlines() if line.startswith("iteration")]


def test_first_last_and_some_between(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(run)]) == 0
    out = capsys.readouterr().out
    assert titles(out) == [f"iteration {n}, dialogue 0" for n in (0, 20, 40, 70, 90)]
    assert f"{title_of(dialogue(0))}\n{format_transcript(dialogue(0))}\n" in out
    assert "\x1b" not in out
    assert main(["watch", str(run / "checkpoints" / "iteration_000010"), "--seed", "1"]) == 0
    assert titles(capsys.readouterr().out)[0] == "iteration 0, dialogue 5"


def test_one_iteration_or_all(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(run), "--iteration", "30"]) == 0
    assert titles(capsys.readouterr().out) == [f"iteration 30, dialogue {n}" for n in (0, 5)]
    assert main(["watch", str(run), "--all"]) == 0
    assert len(titles(capsys.readouterr().out)) == 20
    assert main(["watch", str(run), "--iteration", "34"]) == 2
    message = "holds no dialogue of it; it has 10 iterations from 0 to 90, the nearest is 30"
    assert message in capsys.readouterr().err


def test_a_text_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "talk.txt"
    assert main(["watch", str(run), "--out", str(out), "--all"]) == 0
    assert capsys.readouterr().out == f"transcripts: {out}\n"
    assert len(titles(out.read_text())) == 20
    assert "\x1b" not in out.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--all", "--follow"], "--all and --follow say different things"),
        (["--follow", "--out", "x.txt"], "leave out --out or --follow"),
    ],
)
def test_flags_that_do_not_fit(
    flags: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(run), *flags]) == 2
    assert message in capsys.readouterr().err


def test_other_runs_keep_no_dialogues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('workflow = "cartpole"\nalgorithm = "ppo"\n')
    assert main(["watch", str(tmp_path), "--iteration", "3"]) == 2
    assert "--iteration: cartpole runs keep no dialogues" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"has no transcripts\.jsonl"):
        watch_path(tmp_path, None, seed=0)
    (tmp_path / "transcripts.jsonl").touch()
    with pytest.raises(InputError, match="holds no dialogue yet"):
        watch_path(tmp_path, None, seed=0)


def test_a_terminal_gets_colours_and_no_control_characters_of_the_model(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminal() -> Console:
        return Console(force_terminal=True, color_system="truecolor", width=200)

    monkeypatch.setattr(dialogue_watch, "Console", terminal)
    watch_path(run, None, seed=0, iteration=10)
    out = capsys.readouterr().out
    assert "nats per token under the competitor" in out
    assert "\x1b[2mword10x0\x1b[0m" in out
    assert "\x1b[31m \\x1b[1m\x1b[0m" in out


def test_following_ends_with_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dialogue_watch, "FOLLOW_INTERVAL_S", 0.01)
    metrics, result = run / "metrics.jsonl", run / "result.json"
    result.write_text("{}")  # of the run before it was resumed
    os.utime(result, (1, 1))
    metrics.write_text(json.dumps({"iteration": 90}) + "\n")

    def go_on() -> None:
        time.sleep(0.05)
        append_transcripts(run / "transcripts.jsonl", [dialogue(100)])
        result.write_text("{}")

    trainer = threading.Thread(target=go_on)
    trainer.start()
    watch_path(run, None, seed=0, follow=True)
    trainer.join()
    found = titles(capsys.readouterr().out)
    assert len(found) == 21
    assert found[-1] == "iteration 100, dialogue 0"


@pytest.mark.parametrize(
    ("num_iterations", "num", "expected"),
    [(0, 5, []), (3, 5, [0, 1, 2]), (100, 3, [0, 50, 99]), (9, 1, [0])],
)
def test_evenly_chosen_iterations(num_iterations: int, num: int, expected: list[int]) -> None:
    items = [dialogue(iteration) for iteration in range(num_iterations)]
    assert choose_iterations(items, num) == expected
