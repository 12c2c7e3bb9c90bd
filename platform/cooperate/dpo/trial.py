"""One training of the generator: from the reference to the last pair, measured on the way.

`parley train` runs one, `parley tune` many: both hand in what to do with a measure. A trial's
score, by which checkpoints and trials are chosen, comes from held-out conversations alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from parley.platform.cooperate.dpo.preparation import Preparation
from parley.platform.cooperate.dpo.scoring import response_log_probs, sample_kl
from parley.platform.cooperate.evaluation.cooperation import quick_cooperation
from parley.platform.cooperate.evaluation.generation import decoding_of, encode_fitting, generate
from parley.platform.cooperate.evaluation.generator_checkpoint import GENERATOR, device_of
from parley.platform.cooperate.evaluation.heldout_outcome import OUTCOME, HeldoutOutcome
from parley.platform.cooperate.evaluation.preference_accuracy import PairLogProbs, measure_accuracy
from parley.platform.cooperate.evaluation.questions import choose_questions
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.sweeps.trial_ending import Save, TrialEnding
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.records import Row
from parley.platform.runs.checkpoints import Checkpoint, open_checkpoint, write_checkpoint
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.stopping import StopOverdue
from parley.platform.terminal.activities import activity
from parley.platform.terminal.interpreter import importing
from parley.policies.dialogue.loading import save_language_model

if TYPE_CHECKING:
    from parley.platform.cooperate.dpo.trainer import SharedPromptDPOTrainer

SCORE = "score"

Report = Callable[[Mapping[str, object], Save | None], bool]
"""Takes a measure, and what writes the checkpoint into a folder; False: stop."""


def run_trial(
    config: DialogueDPOConfig,
    shared: Preparation,
    folder: Path,
    report: Report,
    restore: Path | None,
    ending: TrialEnding | None = None,
) -> Row:
    """Train with the settings of `config`; give the last measure.

    Args:
        config: of this trial.
        shared: what all trials have in common.
        folder: of the trial; nothing is written there but through `report`.
        report: is given every measure.
        restore: checkpoint to go on from.
        ending: ends the trial between measures, if anything does.

    Raises:
        NonFiniteLossError: training diverged.
        InputError: the checkpoint belongs to other data.
        StopOverdue: stopped within the update of the weights; nothing was saved.
    """
    with limit_threads(config.learner.num_threads):
        trial = Trial(config, shared, report, ending)
        if restore is not None:
            trial.restore(open_checkpoint(restore))
        return trial.run()


class Trial:
    """The state of one training.

    Args:
        config: of this trial.
        shared: what all trials have in common; stays as it is.
        report: is given every measure.
        ending: ends the trial between measures, if anything does.
    """

    def __init__(
        self,
        config: DialogueDPOConfig,
        shared: Preparation,
        report: Report,
        ending: TrialEnding | None = None,
    ) -> None:
        self.config = config
        self.ending = ending
        self.shared = shared
        self.report = report
        # Two seconds that the preparation need not wait for.
        with importing(), activity("loading TRL"):
            from parley.platform.cooperate.dpo.trainer import build_trainer
        device = device_of(config)
        self.generator, self.reference = shared.build_reference(), shared.build_reference()
        self.reference.model.to(device)  # type: ignore[arg-type]
        self.trainer: SharedPromptDPOTrainer = build_trainer(
            self.generator.model, shared.tokenizer, shared.training, config, device
        )
        self.last: Row = {}
        self.outcome: HeldoutOutcome | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint that a trial on the same data wrote."""
        state = checkpoint.read_trainer_state()
        self.trainer.restore(state["trainer"])
        self.last = state["last"]

    def run(self) -> Row:
        """Take the remaining gradient steps; give the last measure."""
        interval, ending = self.config.evaluation.interval_steps, self.ending
        if ending is None:
            self.trainer.run(self._on_row, interval)
            return self.last
        try:
            with ending.interrupting():
                was_stopped = self.trainer.run(self._on_row, interval, ending.is_stopping)
        except StopOverdue:
            if not self.trainer.is_whole:
                raise
            was_stopped = True
        if was_stopped:
            ending.save(self.trainer.num_steps, self._save)
        return self.last

    def _on_row(self, figures: dict[str, float]) -> bool:
        """Measure after some gradient steps; whether to stop."""
        with activity("measuring on held-out conversations"):
            row = {"iteration": int(figures["step"]), **figures, **self._measure()}
        self.last = row
        self.trainer.close_row()
        return not self.report(row, self._save)

    def _measure(self) -> Row:
        """The figures on held-out conversations."""
        shared, evaluation = self.shared, self.config.evaluation
        assert shared.heldout.reference is not None
        counts = shared.heldout.response_lengths
        tuned = response_log_probs(self.generator.model, shared.heldout)
        log_probs = PairLogProbs(tuned, shared.heldout.reference, counts)
        margins = log_probs.implicit_margins(self.config.dpo.beta)
        accuracy = measure_accuracy(margins, shared.heldout_pairs)
        ratios = (tuned - shared.heldout.reference).sum(0) / counts.sum(0)
        cooperation = quick_cooperation(
            self.generator,
            shared.heldout_pairs,
            shared.choosing_judge,
            self.config,
            evaluation.prompts,
            evaluation.seed,
        )
        self.outcome = HeldoutOutcome.of(margins, shared.heldout_pairs, cooperation)
        return {
            **log_probs.losses(self.config.dpo),
            "preference_accuracy": accuracy.accuracy.value,
            "preference_accuracy_length_controlled": accuracy.length_controlled.value,
            "eval_log_ratio_chosen": float(ratios[0]),
            "eval_log_ratio_rejected": float(ratios[1]),
            **log_probs.chosen_perplexities(),
            "kl": self._measure_kl(),
            **cooperation.metrics,
            SCORE: self.outcome.score(evaluation.accuracy_weight),
        }

    def _measure_kl(self) -> float:
        """KL to the reference, in nats per token of one drawn response to each prompt."""
        evaluation, generator = self.config.evaluation, self.generator
        questions = choose_questions(self.shared.heldout_pairs, evaluation.prompts, evaluation.seed)
        # What is drawn otherwise than from the model's own distribution would estimate another KL.
        decoding = replace(decoding_of(self.config, "sample"), temperature=1.0, top_p=1.0)
        drawn = generate(generator, questions.prompts, decoding, evaluation.seed)
        return sample_kl(
            generator.model,
            self.reference.model,
            encode_fitting(generator, questions.prompts, decoding),
            [[*r.tokens.tolist(), *[generator.end_token] * r.closed] for (r,) in drawn],
        )

    def _save(self, folder: Path) -> None:
        facts = {
            **kind_facts(self.config),
            "policy": "dpo",
            "trained": GENERATOR,
            "modules": [GENERATOR],
            "experiment": self.config.model_dump(mode="json", exclude_none=True),
            OUTCOME: None if self.outcome is None else self.outcome.to_dict(),
        }
        state = {"trainer": self.trainer.state_for_resume(), "last": self.last}
        write_checkpoint(folder, self._save_policies, facts, state)

    def _save_policies(self, folder: Path) -> None:
        generator = replace(self.generator, model=self.trainer.merged_policy())
        save_language_model(generator, folder / GENERATOR)
