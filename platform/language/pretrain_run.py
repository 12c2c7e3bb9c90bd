"""The pretraining job: dialogues become tokens, a GPT-2 learns them, the best one is measured.

It trains in the main process: a corpus of this size takes minutes on two cores, and one process has
no copies of the data to keep in step (see docs/decisions/0007-parley-tiny.md).
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
import transformers.utils.logging
from transformers import GPT2LMHeadModel

from parley.platform.engine.torch.device import choose_device
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.engine.training_run import TrainingRun
from parley.platform.language.language_data import encode_split, load_split
from parley.platform.language.ngrams import KneserNey
from parley.platform.language.self_talk import hold_dialogue
from parley.platform.language.settings import PretrainConfig
from parley.platform.language.tokenizer import load_tokenizer
from parley.platform.language.training import (
    DialogueLosses,
    LanguageTrainer,
    build_language_model,
    load_gpt2,
    measure_losses,
)
from parley.platform.records import Facts, Metrics, Result, Row
from parley.platform.report.intervals import bootstrap_rate_interval
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import StopOverdue, StopSignal
from parley.platform.runs.transcripts import (
    OPENER,
    TRANSCRIPTS_FILE,
    Transcript,
    TranscriptTurn,
    append_transcripts,
    drop_transcripts_after,
    format_transcript,
    split_pieces,
)
from parley.platform.terminal.activities import Activity, activity, each
from parley.platform.terminal.progress import Column, Progress

SPEAKER = "speaker"
"""The policy in a checkpoint: a transformers folder with its tokenizer."""
COLUMNS = (
    Column("iteration", "step"),
    Column("tokens_per_s", "tokens/s"),
    Column("train_nats_per_token", "train nats", ".3f"),
    Column("selection_nats_per_token", "unseen nats", ".3f"),
    Column("selection_perplexity", "perplexity", ",.2f"),
)
NGRAM_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


def run_pretrain(config: PretrainConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Train a tokenizer and a language model; measure the best checkpoint on held-out dialogues.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        DialogueDataError, CheckpointError: the data cannot be used, or is not that of the run.
        NonFiniteLossError: training diverged; the checkpoints so far stand.
    """
    with (
        StopSignal(config.checkpoint.stop_grace_s) as stop,
        Progress(COLUMNS) as progress,
        limit_threads(config.learner.num_threads),
    ):
        with stop.at_once(), progress.status("preparing the dialogues"):
            run = PretrainRun(config, run_folder, resume)
        for remark in run.data.remarks:
            progress.say(remark)
        run.train(stop, progress)
        if not run.finished:
            run.save()
            run.conclude(stopped=True)
        with stop.at_once(), progress.status("measuring the held-out dialogues"):
            result = run.conclude()
    run.show_sample()
    return result


class PretrainRun(TrainingRun):
    """The state of one pretraining between gradient steps.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        resume: go on from the newest sound checkpoint.
    """

    def __init__(self, config: PretrainConfig, run_folder: RunFolder, resume: bool) -> None:
        super().__init__(run_folder, config.checkpoint.keep)
        self.config = config
        self.transcripts = run_folder.path / TRANSCRIPTS_FILE
        checkpoint = self.store.find("last") if resume else None
        folder = None if checkpoint is None else checkpoint.policy_folders[SPEAKER]
        tokenizer = None if folder is None else load_tokenizer(folder)
        self.data = encode_split(load_split(config.data, config.seed), config.model, tokenizer)
        model = build_language_model(config.model, self.data.tokenizer, config.seed)
        self.model = _to_device(model, choose_device(config.learner.num_gpus_per_learner))
        self.trainer = LanguageTrainer(self.model, self.data.training, config.training, config.seed)
        self.best: Row | None = None
        self._loss_sum = 0.0
        self._num_losses = 0
        self._row_tokens, self._row_seconds = 0, 0.0
        if checkpoint is not None:
            self._restore(checkpoint)
        if resume:
            run_folder.drop_metrics_after(self.trainer.num_steps)
            drop_transcripts_after(self.transcripts, self.trainer.num_steps)

    @property
    def finished(self) -> bool:
        """Whether all gradient steps are done, and told in a row."""
        return self.trainer.num_steps >= self.config.training.num_steps and not self._num_losses

    def train(self, stop: StopSignal, progress: Progress) -> None:
        """Take the remaining gradient steps, until `stop`.

        A measure that is not ready in time after the signal is made when the run goes on.
        """
        total, done = self.config.training.num_steps, self.trainer.num_steps
        with activity("training", total, "steps", done, pace_unit="tokens") as training:
            while not stop.received:
                if self._num_losses and self._is_row_due():
                    try:
                        progress.update(self._record(stop))
                    except StopOverdue:
                        return
                if self.finished:
                    return
                self._step(training)

    def _is_row_due(self) -> bool:
        number, training = self.trainer.num_steps, self.config.training
        return number >= training.num_steps or number % training.eval_interval == 0

    def _step(self, training: Activity) -> None:
        started = time.perf_counter()
        loss, num_tokens = self.trainer.learn()
        self.seconds += time.perf_counter() - started
        self._loss_sum += loss
        self._num_losses += 1
        training.advance(handled=num_tokens, loss=loss)
        saves = self.trainer.num_steps % self.config.checkpoint.interval_iterations == 0
        if saves and not self._is_row_due():
            self.save()

    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """The best checkpoint on the held-out dialogues."""
        assert checkpoint is not None, "a finished run has saved"
        _load_weights(self.model, checkpoint)
        return self._measure()

    def details(self) -> Facts:
        """Where the gradients were computed."""
        return {"device": self.trainer.device.type}

    def show_sample(self) -> None:
        """Print the last dialogue that the model held with itself."""
        samples = self._sample()
        if samples:
            print(format_transcript(samples[-1]), flush=True)

    def _record(self, stop: StopSignal) -> Row:
        """Measure, write and save a row.

        Raises:
            StopOverdue: stopped while it measured; nothing was written.
        """
        with stop.interrupting():
            losses = measure_losses(self.model, self.data.selection)
            samples = self._sample()
        num_tokens = self.trainer.num_tokens - self._row_tokens
        row = {
            "iteration": self.trainer.num_steps,
            "epoch": self.trainer.stream.epoch,
            "tokens": self.trainer.num_tokens,
            "train_nats_per_token": self._loss_sum / self._num_losses,
            "selection_nats_per_token": losses.mean,
            "selection_perplexity": math.exp(losses.mean),
            "tokens_per_s": num_tokens / max(self.seconds - self._row_seconds, 1e-9),
            "seconds": self.seconds,
        }
        self._loss_sum, self._num_losses = 0.0, 0
        self._row_tokens, self._row_seconds = self.trainer.num_tokens, self.seconds
        append_transcripts(self.transcripts, samples)
        self.run_folder.append_metrics(row)
        key = "selection_nats_per_token"
        is_best = self.best is None or row[key] < self.best[key]
        if is_best:
            self.best = {name: row[name] for name in ("iteration", key)}
        self.save(-losses.mean if is_best else None)
        return row

    def _measure(self) -> Metrics:
        """The figures of the loaded weights, and of n-gram models of the same tokens."""
        assert self.best is not None, "a finished run has rows"
        losses = measure_losses(self.model, self.data.heldout)
        low, high = bootstrap_rate_interval(losses.nats, losses.counts)
        vocab_size = len(self.data.tokenizer)
        ngrams = {
            f"{name}_nats_per_token": self._measure_ngrams(order, vocab_size).mean
            for order, name in NGRAM_NAMES.items()
        }
        return {
            "heldout_nats_per_token": losses.mean,
            "heldout_nats_per_token_ci95": [low, high],
            "heldout_perplexity": math.exp(losses.mean),
            "heldout_perplexity_ci95": [math.exp(low), math.exp(high)],
            "heldout_tokens": self.data.heldout.num_targets,
            "heldout_dialogues": len(self.data.heldout),
            **ngrams,
            "tokens_per_s": self.trainer.num_tokens / max(self.seconds, 1e-9),
            "train_tokens": self.trainer.num_tokens,
            "train_steps": self.trainer.num_steps,
            "best_step": self.best["iteration"],
            "vocab_size": vocab_size,
        }

    def _measure_ngrams(self, order: int, vocab_size: int) -> DialogueLosses:
        return KneserNey(self.data.training, order, vocab_size).measure(self.data.heldout)

    def _sample(self) -> list[Transcript]:
        """Dialogues that the model holds with itself, the same openers every time."""
        evaluation = self.config.evaluation
        samples = []
        for number in each(range(evaluation.samples), "holding dialogues", "dialogues"):
            opener = self.data.openers[number % len(self.data.openers)]
            turns = hold_dialogue(
                self.model,
                self.data.tokenizer,
                opener,
                evaluation.sample_turns,
                evaluation.sample_tokens,
                self.config.seed + number,
            )
            samples.append(self._transcribe(number, turns))
        return samples

    def _transcribe(self, number: int, turns: list[list[int]]) -> Transcript:
        written = []
        for index, ids in enumerate(turns):
            pieces = split_pieces(self._decode, ids)
            seat = SPEAKER if index else OPENER
            written.append(TranscriptTurn(seat, "".join(pieces), pieces, ids))
        ended = len(turns) <= self.config.evaluation.sample_turns
        return Transcript(self.trainer.num_steps, number, SPEAKER, written, not ended, ended)

    def _decode(self, ids: list[int]) -> str:
        return str(self.data.tokenizer.decode(ids))

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.read_trainer_state()
        if state["data"] != self.data.fingerprint:
            raise CheckpointError(
                f"the dialogues of data.path {self.config.data.path!r} are not those that the run "
                f"began with; give the same data, or begin a new run"
            )
        _load_weights(self.model, checkpoint)
        self.trainer.restore(state["trainer"])
        self.best = state["best"]
        self.seconds = state["seconds"]
        self._loss_sum, self._num_losses = state["loss_sum"], state["num_losses"]
        self._row_tokens, self._row_seconds = state["row_tokens"], state["row_seconds"]

    def save(self, best_score: float | None = None) -> None:
        """Write a checkpoint of the steps so far."""
        facts = {
            **kind_facts(self.config),
            "policy": "gpt2",
            "modules": [SPEAKER],
            "context": self.config.model.context,
        }
        state = {
            "data": self.data.fingerprint,
            "trainer": self.trainer.state(),
            "best": self.best,
            "seconds": self.seconds,
            "loss_sum": self._loss_sum,
            "num_losses": self._num_losses,
            "row_tokens": self._row_tokens,
            "row_seconds": self._row_seconds,
        }
        self.store.save(self.trainer.num_steps, self._save_policies, facts, state, best_score)

    def _save_policies(self, folder: Path) -> None:
        transformers.utils.logging.disable_progress_bar()
        self.model.save_pretrained(folder / SPEAKER)
        self.data.tokenizer.save_pretrained(folder / SPEAKER)


def _load_weights(model: GPT2LMHeadModel, checkpoint: Checkpoint) -> None:
    model.load_state_dict(load_gpt2(checkpoint.policy_folders[SPEAKER]).state_dict())


def _to_device(model: GPT2LMHeadModel, device: torch.device) -> GPT2LMHeadModel:
    # GPT2LMHeadModel.to is typed as a decorated function, which takes no device.
    torch.nn.Module.to(model, device)
    return model
