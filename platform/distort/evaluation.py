"""What a policy does in dialogue: surprise, divergence and variety, with intervals.

`measure_replies` turns dialogues into figures; `evaluate_distorter` plays them from a checkpoint,
in this process and without Ray.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parley.platform.distort.player import EVALUATION, DialoguePlayer, SeatModels
from parley.platform.distort.record import PlayedDialogue
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import DialogueTask, make_dialogue_task
from parley.platform.language.variety import distinct_rate
from parley.platform.records import Metrics
from parley.platform.report.intervals import bootstrap_interval
from parley.platform.runs.checkpoints import Checkpoint, resolve_checkpoint
from parley.platform.runs.run_inputs import find_inputs
from parley.platform.settings.inputs import list_inputs
from parley.platform.settings.resuming import moved_inputs
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from parley.policies.dialogue.speaker import Speaker

NUM_ROWS = 32
"""Dialogues that are played together."""


def measure_replies(dialogues: Sequence[PlayedDialogue], seats: Sequence[str]) -> Metrics:
    """Figures of the trained seats' replies, each `<name>_ci95` next to its `<name>`.

    `kl` is exact at every token that was said: KL(policy, start) over the whole vocabulary at
    temperature 1. `kl_estimate` is what training knows of it, the mean log-ratio of the tokens
    themselves: it scatters, may fall below 0, and is biased where draws are truncated or tempered.
    Replies of one dialogue are not independent: intervals are over dialogues.
    """
    by_dialogue = [turns for dialogue in dialogues if (turns := dialogue.turns_of(seats))]
    surprise = np.array([np.mean([-_mean(t.judge_log_probs) for t in row]) for row in by_dialogue])
    drift = np.array([np.mean([_mean(t.divergences) for t in row]) for row in by_dialogue])
    ratios = np.array(
        [
            np.mean([_mean(t.full_log_probs) - _mean(t.start_log_probs) for t in row])
            for row in by_dialogue
        ]
    )
    replies = [[turn.tokens.tolist() for turn in row] for row in by_dialogue]
    variety = distinct_rate(replies, 2)
    return {
        "competitor_nll": float(surprise.mean()),
        "competitor_nll_ci95": list(bootstrap_interval(surprise)),
        "kl": float(drift.mean()),
        "kl_ci95": list(bootstrap_interval(drift)),
        "kl_estimate": float(ratios.mean()),
        "kl_estimate_ci95": list(bootstrap_interval(ratios)),
        "distinct_2": variety.value,
        "distinct_2_ci95": list(variety.interval),
        "reply_length": float(np.mean([len(reply) for row in replies for reply in row])),
    }


def evaluation_openers(task: DialogueTask, num_dialogues: int) -> dict[int, Any]:
    """Dialogue number -> opener: the held-out ones in turn."""
    openers = task.heldout_openers
    return {number: openers[number % len(openers)] for number in range(num_dialogues)}


def with_start(start: Metrics, now: Metrics) -> Metrics:
    """The final figures next to those from before training."""
    metrics: Metrics = {}
    for name in ("competitor_nll", "distinct_2"):
        for suffix in ("", "_ci95"):
            metrics[f"{name}_start{suffix}"] = start[name + suffix]
    return metrics | now


def evaluate_distorter(
    path: Path,
    episodes: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Metrics:
    """Measure the trained seats of a checkpoint on held-out openers.

    Args:
        path: a run of self-play, or a checkpoint in one.
        episodes: dialogues; by default as the experiment says.
        seed: of the dialogues; likewise.
        overrides: `key=value` of models and openers that lie elsewhere by now.

    Raises:
        InputError: a model that the checkpoint names cannot be had, or is another one.
    """
    checkpoint = resolve_checkpoint(path)
    facts = checkpoint.read_policy_facts()
    named = DialogueDistortConfig.model_validate(facts["experiment"])
    keys = [entry.key for entry in list_inputs(named)]
    config = find_inputs(named, checkpoint, keys, moved_inputs(named, overrides))
    sources = {seat: entry["model"] for seat, entry in facts["seats"].items()}
    sources |= {
        seat: entry.model for seat, entry in config.seats.items() if entry != named.seats[seat]
    }
    task = make_dialogue_task(config, print, sources)
    num_dialogues = episodes or config.evaluation.episodes
    chosen = config.evaluation.seed if seed is None else seed
    frozen = {name: _speaker(task, name) for name in _one_seat_per_model(task)}
    start = _play(task, config, frozen, {}, num_dialogues, chosen)
    trained = _load_trained(checkpoint, task, config.trained_seats)
    started = time.perf_counter()
    now = _play(task, config, frozen, trained, num_dialogues, chosen)
    seconds = time.perf_counter() - started
    num_tokens = sum(dialogue.num_tokens_drawn for dialogue in now)
    seats = config.trained_seats
    return {
        **with_start(measure_replies(start, seats), measure_replies(now, seats)),
        "episodes": num_dialogues,
        "tokens_per_s": num_tokens / seconds,
    }


def _one_seat_per_model(task: DialogueTask) -> list[str]:
    return list({id(model.model): seat for seat, model in task.models.items()}.values())


def _play(
    task: DialogueTask,
    config: DialogueDistortConfig,
    frozen: dict[str, Speaker],
    trained: dict[str, Speaker],
    num_dialogues: int,
    seed: int,
) -> list[PlayedDialogue]:
    """The dialogues of the starting policies, or of the trained ones where they are given."""
    by_model = {id(task.models[name].model): speaker for name, speaker in frozen.items()}
    started_as = {seat: by_model[id(model.model)] for seat, model in task.models.items()}
    models = SeatModels(
        seats={seat: trained.get(seat, started_as[seat]) for seat in config.dialogue.order},
        judge=started_as[config.reward.judge],
        starts={seat: started_as[seat] for seat in config.trained_seats},
    )
    player = DialoguePlayer(task.settings, models, seed, EVALUATION)
    openers = evaluation_openers(task, num_dialogues)
    dialogues: list[PlayedDialogue] = []
    for first in range(0, num_dialogues, NUM_ROWS):
        numbers = range(first, min(first + NUM_ROWS, num_dialogues))
        played = player.play(numbers, [openers[number] for number in numbers])
        player.compare_with_start(played)
        dialogues += played
    return dialogues


def _speaker(task: DialogueTask, seat: str) -> Speaker:
    return _speaker_of(task.models[seat], task)


def _speaker_of(model: LanguageModel, task: DialogueTask) -> Speaker:
    return Speaker(model.model, model.end_token, NUM_ROWS, task.sampling, beginning=task.beginning)


def _load_trained(
    checkpoint: Checkpoint, task: DialogueTask, seats: Sequence[str]
) -> dict[str, Speaker]:
    folders = checkpoint.policy_folders
    speakers = {}
    for seat in seats:
        speakers[seat] = _speaker_of(load_language_model(folders[seat]), task)
    return speakers


def _mean(values: Any) -> float:
    assert values is not None, "replies of trained seats are judged, anchored and compared"
    return float(np.mean(values))
