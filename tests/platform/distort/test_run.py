"""`parley train dialogue/distort`: the run folder, learning, determinism, resuming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.distort.run import DistortRun
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import make_dialogue_task
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import Transcript, read_transcripts
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.loading import load_language_model
from tests.platform.distort.run_fixtures import TINY

GRADIENT = {
    "ppo": ["ppo.minibatch_size=4"],
    "reinforce": ["reinforce.minibatch_size=4", "reinforce.learning_rate=1e-3"],
}

TIMES = {"seconds", "tokens_per_s", "env_steps_per_s", "sample_s", "learn_s", "outside_forward"}
Row = dict[str, Any]
Train = Callable[..., int]


@pytest.fixture(scope="module")
def train(local_ray: None, quick_model_folder: Path) -> Train:
    """Runs the command in this process, all seats with the quick model."""

    def run(folder: Path, *overrides: str, experiment: str = "dialogue/distort") -> int:
        models = [f"{seat}={quick_model_folder}" for seat in ("distorter", "competitor")]
        gradient = GRADIENT["reinforce" if "algorithm=reinforce" in overrides else "ppo"]
        tiny = [*models, *TINY, *gradient, *overrides]
        return main(["train", experiment, "--run-dir", str(folder), *tiny])

    return run


def resume(run: Path, *overrides: str) -> int:
    return main(["train", "dialogue/distort", "--run-dir", str(run), "--resume", *overrides])


def read_rows(run: Path) -> list[Row]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[Row]:
    """The rows without what a clock measured."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(run)]


def read_result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


def final_figures(run: Path) -> dict[str, Any]:
    return {k: v for k, v in read_result(run)["metrics"].items() if k not in TIMES}


def transcripts_of(run: Path) -> list[Transcript]:
    return read_transcripts(run / "transcripts.jsonl")


def token_ids(run: Path, iteration: int) -> list[list[list[int]]]:
    """Dialogue -> turn -> ids."""
    return [
        [turn.token_ids for turn in transcript.turns]
        for transcript in transcripts_of(run)
        if transcript.iteration == iteration
    ]


def assert_same_run(run: Path, other: Path) -> None:
    """All that was said, measured and concluded."""
    assert untimed(run) == untimed(other)
    assert (run / "transcripts.jsonl").read_bytes() == (other / "transcripts.jsonl").read_bytes()
    assert final_figures(run) == final_figures(other)


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four iterations."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert train(run) == 0
    return run


def test_the_run_folder_holds_what_the_contract_says(
    finished: Path, quick_model_folder: Path
) -> None:
    names = {path.name for path in finished.iterdir()} - {".lock"}
    expected = {"checkpoints", "config.toml", "metrics.jsonl", "result.json", "transcripts.jsonl"}
    assert names == expected | {"inputs.json", "tensorboard", "tracking.json"}
    config = load_experiment(finished / "config.toml")
    assert isinstance(config, DialogueDistortConfig)
    assert config.seats["competitor"].model == str(quick_model_folder)


def test_a_row_an_iteration(finished: Path) -> None:
    start, *rows = read_rows(finished)
    assert start["iteration"] == 0 and "eval_competitor_nll" in start
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["iteration"] for row in rows if "eval_competitor_nll" in row] == [2, 4]
    figures = {
        *("reward", "competitor_nll", "counted_nll", "kl", "kl_penalty", "anchor_kl", "entropy"),
        *("distinct_1", "distinct_2", "distinct_3", "repetition_rate", "repeated_replies"),
        *("reply_length", "policy_loss", "value_loss", "clip_fraction"),
    }
    for row in rows:
        assert figures | TIMES | {"attractors", "env_steps", "tokens"} <= row.keys()
        assert all(np.isfinite(row[name]) for name in figures)
        assert row["dialogues"] == 8
        assert row["reward"] == pytest.approx(row["counted_nll"] - row["kl_penalty"], abs=1e-5)
        assert row["counted_nll"] <= row["competitor_nll"] + 1e-6
        assert "opponent" not in row
    assert abs(rows[0]["kl"]) < 1e-5  # nothing was learned yet
    assert abs(rows[-1]["kl"]) > 1e-4


def test_the_result_compares_the_end_with_the_start(finished: Path) -> None:
    result = read_result(finished)
    assert (result["status"], result["experiment"]) == ("done", "dialogue/distort")
    metrics, rows = result["metrics"], read_rows(finished)
    names = ("competitor_nll_start", "competitor_nll", "kl", "distinct_2_start", "distinct_2")
    for name in (*names, "kl_estimate"):
        low, high = metrics[f"{name}_ci95"]
        assert low <= metrics[name] <= high
    assert metrics["kl_ci95"][0] > 0.0
    assert rows[0]["eval_kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["distinct_2_ci95"][1] <= 1.0
    assert metrics["tokens_per_s"] > 0.0
    for name in ("competitor_nll", "distinct_2"):
        assert metrics[f"{name}_start"] == rows[0][f"eval_{name}"]
        assert metrics[name] == rows[-1][f"eval_{name}"]
    assert metrics["env_steps"] == rows[-1]["env_steps"]


def test_transcripts_are_the_dialogues_with_their_rewards(finished: Path) -> None:
    transcripts, rows = transcripts_of(finished), read_rows(finished)[1:]
    assert [t.iteration for t in transcripts] == [i for i in (1, 2, 3, 4) for _ in range(8)]
    assert [t.number for t in transcripts] == list(range(32))
    assert sum(len(t.turns) - 1 for t in transcripts) == rows[-1]["env_steps"]
    for row in rows:
        turns = [t for d in transcripts if d.iteration == row["iteration"] for t in d.turns[1:]]
        rewards = [turn.rewards for turn in turns if turn.seat == "distorter"]
        assert all(reward is not None for reward in rewards)
        paid = [reward["total"] for reward in rewards if reward is not None]
        assert np.mean(paid) == pytest.approx(row["reward"], abs=1e-5)
    for transcript in transcripts:
        assert transcript.opponent == "competitor"
        assert transcript.terminated and not transcript.truncated
        for turn in transcript.turns:
            assert "".join(turn.pieces) == turn.text
            assert (turn.rewards is not None) == (turn.seat == "distorter")
            if turn.seat == "opener":
                assert turn.nll is None
            else:
                assert turn.nll is not None and len(turn.nll) == len(turn.token_ids)


def test_the_policy_loads_without_ray_and_has_moved(
    finished: Path, quick_model_folder: Path
) -> None:
    checkpoint = CheckpointStore(finished / "checkpoints").find("last")
    assert checkpoint is not None
    assert checkpoint.path == finished / read_result(finished)["checkpoint"]
    assert list(checkpoint.policy_folders) == ["distorter"]
    facts = checkpoint.read_policy_facts()
    assert facts["seats"]["competitor"] == {"model": str(quick_model_folder), "trained": False}
    assert facts["seats"]["distorter"]["trained"]
    learned = load_language_model(checkpoint.policy_folders["distorter"])
    began = load_language_model(quick_model_folder)
    assert learned.tokenizer.get_vocab() == began.tokenizer.get_vocab()
    weights, start = learned.model.state_dict(), began.model.state_dict()
    assert weights.keys() == start.keys()
    assert any((weights[name] != start[name]).any() for name in weights)


def test_evaluate_gives_the_figures_of_the_result(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(finished), "--json", str(out)]) == 0
    figures, expected = json.loads(out.read_text()), read_result(finished)["metrics"]
    assert figures["episodes"] == 6
    for name, value in expected.items():
        if name not in {"tokens_per_s", "iterations", "env_steps"}:
            assert figures[name] == pytest.approx(value, abs=1e-4), name


def test_a_run_that_broke_off_goes_on_as_if_it_had_not(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    """Rows and dialogues beyond the last checkpoint are played again: the same ones."""
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("iteration_000004", "*.lock"))
    (run / "result.json").unlink()
    assert resume(run) == 0
    assert_same_run(run, finished)


@pytest.mark.slow
def test_another_seed_is_another_run(finished: Path, train: Train, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "seed=1", "stop.max_iterations=1") == 0
    assert token_ids(tmp_path / "run", 1) != token_ids(finished, 1)


def test_another_model_of_the_same_name_is_refused_by_every_command(
    local_ray: None,
    quick_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, here, there = (tmp_path / name for name in ("run", "here", "there"))
    for folder in (here, there):
        shutil.copytree(quick_model_folder, folder / "mine")
    weights = there / "mine" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    models = ["competitor=mine", "distorter=mine"]
    monkeypatch.chdir(here)
    tiny = [*TINY, *GRADIENT["ppo"], "stop.max_iterations=1"]
    assert main(["train", "dialogue/distort", "--run-dir", str(run), *models, *tiny]) == 0
    monkeypatch.chdir(there)
    assert main(["evaluate", str(run), "--json", "figures.json"]) == 0
    moved = shutil.move(here / "mine", tmp_path / "moved")
    capsys.readouterr()
    for command in (
        ["evaluate", str(run)],
        ["chat", str(run), "--seat", "competitor"],
        ["train", "dialogue/distort", "--run-dir", str(run), "--resume"],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"{there / 'mine'} is not what the run began with" in error
        assert "model.safetensors differs" in error
    named = [f"competitor={moved}", f"distorter={moved}"]
    assert main(["evaluate", str(run), *named, "--json", "again.json"]) == 0
    figures = [json.loads((there / f"{name}.json").read_text()) for name in ("figures", "again")]
    first, second = ({k: v for k, v in f.items() if k not in TIMES} for f in figures)
    assert first == second


@pytest.mark.slow
def test_the_number_of_runners_plays_no_part_in_what_is_said(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    """Two runners, other batches: the first iteration's ids are equal, figures up to rounding."""
    run = tmp_path / "run"
    two = ["rollouts.num_env_runners=2", "rollouts.num_envs_per_env_runner=3"]
    assert train(run, *two, "stop.max_iterations=2") == 0
    assert token_ids(run, 1) == token_ids(finished, 1)
    ours, theirs = read_rows(run), read_rows(finished)
    for name in ("competitor_nll", "reward", "entropy", "policy_loss", "value_loss"):
        assert ours[1][name] == pytest.approx(theirs[1][name], abs=1e-4), name


POOL = [
    "algorithm=reinforce",
    "pool.share=1.0",
    "pool.interval_iterations=1",
    "pool.size=2",
    "anchor.kl=0.0",
    "reward.random_baseline=false",
]


@pytest.mark.slow
def test_past_selves_play_along_and_a_resumed_run_remembers_them(
    train: Train, tmp_path: Path
) -> None:
    """With REINFORCE and without an anchor: what they keep must come back too."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole, *POOL) == 0
    rows = read_rows(whole)[1:]
    opponents = [row.get("opponent") for row in rows]
    assert opponents[0] is None
    assert opponents[1] == "past-1"
    assert set(opponents[2:]) <= {"past-1", "past-2", "past-3"}
    assert opponents[3] != "past-1"  # it has left
    assert {t.opponent for t in transcripts_of(whole) if t.iteration == 2} == {"past-1"}
    for row in rows:
        assert row["anchor_kl"] == row["kl_penalty"] == 0.0
        assert row["reward"] == pytest.approx(row["competitor_nll"])
        assert row["value_loss"] == 0.0
    assert train(broken, *POOL, "stop.max_iterations=2") == 0
    assert resume(broken, "stop.max_iterations=4") == 0
    assert_same_run(broken, whole)


LEARNING = [
    "stop.max_iterations=12",
    "rollouts.dialogues_per_iteration=24",
    "rollouts.num_envs_per_env_runner=24",
    "anchor.kl=0.0",
    "reward.random_baseline=false",
    "evaluation.episodes=32",
    "evaluation.interval_iterations=0",
    "transcripts.keep_every=24",
]


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm=ppo", "ppo.learning_rate=1e-3", "ppo.minibatch_size=12"],
        pytest.param(
            ["algorithm=reinforce", "reinforce.minibatch_size=12"], marks=pytest.mark.slow
        ),
    ],
    ids=["ppo", "reinforce"],
)
def test_the_distorter_learns_what_the_competitor_cannot_predict(
    overrides: list[str], train: Train, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(run, *LEARNING, *overrides) == 0
    metrics = read_result(run)["metrics"]
    assert metrics["competitor_nll_ci95"][0] > metrics["competitor_nll_start_ci95"][1]
    rewards = [row["reward"] for row in read_rows(run)[1:]]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    assert metrics["kl"] > 0.05


THREE_SEATS = """\
workflow = "dialogue"
algorithm = "ppo"
experiment = "dialogue/three"

[seats.anna]
model = "{model}"
trained = true

[seats.ben]
model = "{model}"
trained = true

[seats.carl]
model = "{model}"

[dialogue]
order = ["anna", "carl", "ben"]

[reward]
judge = "carl"
"""


@pytest.fixture(scope="module")
def three_seats(quick_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of two that learn and a judge between them."""
    path = tmp_path_factory.mktemp("three") / "three.toml"
    path.write_text(THREE_SEATS.format(model=quick_model_folder))
    return path


@pytest.mark.slow
def test_two_seats_learn_beside_a_third(three_seats: Path, local_ray: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = [*TINY, *GRADIENT["ppo"], "stop.max_iterations=2", "dialogue.max_turns=5"]
    assert main(["train", str(three_seats), "--run-dir", str(run), *overrides]) == 0
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    assert sorted(checkpoint.policy_folders) == ["anna", "ben"]
    anna, ben = (
        load_language_model(path).model for _, path in sorted(checkpoint.policy_folders.items())
    )
    differences = [
        (a != b).any().item()
        for a, b in zip(anna.state_dict().values(), ben.state_dict().values(), strict=True)
    ]
    assert any(differences)
    paid = {
        turn.seat
        for transcript in transcripts_of(run)
        for turn in transcript.turns
        if turn.rewards is not None
    }
    assert paid == {"anna", "ben"}
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0


@pytest.mark.slow
def test_a_seat_that_never_has_its_turn_stays_as_it_is(
    three_seats: Path, quick_model_folder: Path, local_ray: None, tmp_path: Path
) -> None:
    """As where the first seat has learned to end every talk at once."""
    run = tmp_path / "run"
    overrides = [*TINY, *GRADIENT["ppo"], "stop.max_iterations=2", "dialogue.max_turns=1"]
    assert main(["train", str(three_seats), "--run-dir", str(run), *overrides]) == 0
    for row in read_rows(run)[1:]:
        assert np.isfinite(
            [row[name] for name in ("reward", "kl", "policy_loss", "anchor_kl")]
        ).all()
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    began = load_language_model(quick_model_folder).model.state_dict()
    moved = {
        seat: any(
            (array != began[name]).any()
            for name, array in load_language_model(path).model.state_dict().items()
        )
        for seat, path in checkpoint.policy_folders.items()
    }
    assert moved == {"anna": True, "ben": False}


@pytest.mark.slow
def test_only_what_learns_is_sent_to_the_runners(
    three_seats: Path, local_ray: None, tmp_path: Path
) -> None:
    config = load_experiment(three_seats, [*TINY, *GRADIENT["ppo"]])
    assert isinstance(config, DialogueDistortConfig)
    with RunFolder.create(config, tmp_path / "run") as run_folder:
        run = DistortRun(config, run_folder, make_dialogue_task(config, print))
        try:
            state = run.algorithm.runner_state()["rl_module"]
            assert sorted(state) == ["anna", "ben"]
            bill = run.algorithm.self_play
            assert list(bill.frozen) == ["carl"]
            voices = [*bill.frozen.values(), *bill.starts.values(), bill.judge]
            assert len({voice.model_id for voice in voices}) == 1  # stored and fetched once
            weights = run.algorithm.language_model_state("anna")
            learned = run.task.models["anna"].model.state_dict()
            for name, array in weights.items():
                np.testing.assert_array_equal(array, learned[name].numpy())
        finally:
            run.close()
