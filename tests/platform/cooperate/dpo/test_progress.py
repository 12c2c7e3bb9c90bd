"""Trainers under a real terminal and in a log: every gradient step, then the passes around it."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.trainer import build_trainer
from parley.platform.terminal.progress import Column, Progress
from tests.platform.cooperate.dpo_fixtures import (
    CPU,
    make_config,
    make_model,
    make_pairs,
    make_tokenizer,
)

NUM_STEPS = 10
COLUMNS = (Column("step", "step"), Column("loss", "loss", ".3f"))
STEPS = re.compile(rf"training  (\d+) of {NUM_STEPS} steps(?:  loss ([\d.]+))?")


def train(progress: Progress) -> None:
    """Five passes over two batches; a row of metrics after half of them and at the end."""
    model, plain = make_model("gpt2"), make_pairs(12)
    with progress:
        pairs = plain.with_reference(response_log_probs(model, plain))
        config = make_config(batch_size=6, num_epochs=5)
        trainer = build_trainer(model, make_tokenizer(), pairs, config, CPU)

        def report(row: dict[str, float]) -> bool:
            progress.update(row)
            return False

        trainer.run(report, NUM_STEPS // 2)


def test_a_terminal_shows_the_steps_below_the_rows() -> None:
    """In a process of its own: what it draws at last must be the table alone."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.platform.cooperate.dpo.test_progress"],
        cwd=Path(__file__).parents[4],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(slave)
    shown = read_all(master)
    assert process.wait() == 0, shown
    assert STEPS.search(shown), shown
    assert "scoring the pairs  0 of 12 pairs" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor stays hidden"
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown[shown.rfind("\x1b[2K") :]).split()
    assert not STEPS.search(" ".join(last))
    assert "10" in last or "10" in shown.split()


def test_a_log_names_the_steps() -> None:
    stream = io.StringIO()
    train(Progress(COLUMNS, stream=stream, interval_s=0.0, silence_s=0.0))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert set(range(1, NUM_STEPS + 1)) <= {int(found[0]) for found in STEPS.findall(text)}
    assert re.search(r"scoring the pairs  12 of 12 pairs  [\d,.]+ pairs/s  0s left", text), text
    rows = [line for line in text.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in rows] == ["5", "10"]


def test_what_is_printed_into_a_file_stays_out_of_the_terminal() -> None:
    master, slave = pty.openpty()
    program = (
        "from parley.platform.terminal.progress import Progress\n"
        "with Progress(()) as progress, progress.status('measuring'):\n"
        "    print('figures')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[4],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    shown = read_all(master)
    assert process.stdout is not None
    assert process.stdout.read() == b"figures\n"
    assert process.wait() == 0
    assert "measuring" in shown
    assert "figures" not in shown


def read_all(descriptor: int) -> str:
    """What is written to a terminal until nobody holds it any more."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux reports the end of a terminal so
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


if __name__ == "__main__":
    train(Progress(COLUMNS))
