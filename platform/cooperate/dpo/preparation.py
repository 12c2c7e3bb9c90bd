"""What all trials of DPO share: pairs as tokens, the reference, what it says, and the judge.

    config ─► pairs ─► tokens ─────────────┐
           └► model ─► supervised tuning ──┴─► reference log-probabilities ─► Preparation

Nothing in here depends on a setting that a sweep searches. It is made once, kept in the run folder
for `--resume`, and goes to the trials through Ray's object store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerFast

from parley.envs.dialogue.conversations import Conversation
from parley.platform.cooperate.dpo.checks import check_experiment
from parley.platform.cooperate.dpo.loader import check_warmup
from parley.platform.cooperate.dpo.scoring import PairScoring
from parley.platform.cooperate.dpo.supervised import FineTuner
from parley.platform.cooperate.dpo.token_pairs import EncodingCounts, TokenPairs, encode_pairs
from parley.platform.cooperate.evaluation.generator_checkpoint import REFERENCE, device_of
from parley.platform.cooperate.evaluation.judge_check import Standing, check_before_training
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.resolving import load_named_model
from parley.platform.language.text_ids import SpeltTokens
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.loading import EMBEDDED_NAME, load_detector
from parley.platform.maxims.pairs.conversations import find_training_conversations
from parley.platform.maxims.pairs.named_pairs import load_pairs
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.records import State
from parley.platform.runs.resumable_tasks import complete, forget_state, keep_state
from parley.platform.runs.run_inputs import keep_made
from parley.platform.runs.stopping import StopSignal
from parley.platform.terminal.progress import Progress
from parley.policies.dialogue.loading import LanguageModel, save_language_model
from parley.policies.dialogue.parts import ModelParts, build_from_parts, take_apart
from parley.policies.dialogue.probing import context_of

PREPARED_STEM = "prepared"
"""What the reference says of the pairs, in the run folder."""
TUNING_STEM = "tuning"
"""Supervised fine-tuning that was stopped, there."""


@dataclass(frozen=True)
class Preparation:
    """What does not depend on beta or learning rate; goes from process to process as a message."""

    reference: ModelParts
    tokenizer: PreTrainedTokenizerFast
    training: TokenPairs
    """With the reference's log-probabilities, as `heldout`."""
    heldout: TokenPairs
    heldout_pairs: tuple[PreferencePair, ...]
    """The same pairs as text, in the order of `heldout`."""
    judge: Detector
    standing: Standing
    """What the judge may do."""

    @property
    def choosing_judge(self) -> Detector | None:
        """The judge, where it may have a part in choosing checkpoints and trials."""
        return None if self.standing.no_choice else self.judge

    def build_reference(self) -> LanguageModel:
        """The reference, ready to speak; also what every trial starts as."""
        model = build_from_parts(self.reference.config, self.reference.state)
        end_token = int(cast("int", self.tokenizer.eos_token_id))
        return LanguageModel(model, self.tokenizer, end_token, context_of(model), REFERENCE)


def prepare(
    config: DialogueDPOConfig, folder: Path, progress: Progress, stop: StopSignal | None = None
) -> Preparation:
    """Everything that the trials share; what takes long is kept in the run folder.

    Args:
        config: the experiment.
        folder: of the run; a resumed run finds its reference there, and what was stopped.
        progress: shows what is being done, and what happened to the data.
        stop: ends it, after keeping the steps that were done.

    Raises:
        InputError: data, model or judges cannot be used, or the reference was changed.
        KeyboardInterrupt: stopped.
    """
    stop = stop or StopSignal()
    with stop.at_once():
        split = _read_pairs(config, progress)
        talks = find_training_conversations(split) if config.data.path else []
        reference_folder = folder / REFERENCE
        known = reference_folder.is_dir()
        if known:
            keep_made(REFERENCE, reference_folder, folder)
        with progress.status("loading the model"):
            model = load_named_model(str(reference_folder) if known else config.model, progress.say)
        device = device_of(config)
        torch.nn.Module.to(model.model, device)
        with progress.status("asking the model what it can do"):
            check_experiment(model, config, device)
        tokenizer = cast("PreTrainedTokenizerFast", model.tokenizer)
        with progress.status("encoding the pairs"):
            training, counts = encode_pairs(split.training, tokenizer, model.context, config.data)
            progress.say(f"training pairs: {describe_counts(counts)}")
            heldout, counts = encode_pairs(split.heldout, tokenizer, model.context, config.data)
            progress.say(f"held-out pairs: {describe_counts(counts)}")
        check_warmup(training, config.dpo)
        heldout_pairs = _in_order(split.heldout, heldout)
        judge, standing = _try_judge(config, heldout_pairs, talks, progress)
    if not known:
        if config.supervised.num_epochs:
            tuner = FineTuner(model.model, training, config.supervised, config.seed)
            complete(tuner, folder / TUNING_STEM, stop, progress.say)
        _save_reference(model, reference_folder)
        keep_made(REFERENCE, reference_folder, folder)
        forget_state(folder / TUNING_STEM)
    scoring = ReferenceScoring(model, training, heldout)
    if complete(scoring, folder / PREPARED_STEM, stop, progress.say):
        keep_state(scoring, folder / PREPARED_STEM)
    training, heldout = scoring.scored_pairs()
    return Preparation(
        reference=take_apart(model.model),
        tokenizer=tokenizer,
        training=training,
        heldout=heldout,
        heldout_pairs=heldout_pairs,
        judge=judge,
        standing=standing,
    )


def _read_pairs(config: DialogueDPOConfig, progress: Progress) -> PairSplit:
    with progress.status("reading the pairs"):
        split = load_pairs(config.data, config.seed)
    if split.spelt_ends:
        progress.say(
            f"{split.spelt_ends:,} pairs spell an end token at the end of a turn or response, "
            f"which is left out"
        )
    return split


def _try_judge(
    config: DialogueDPOConfig,
    heldout: Sequence[PreferencePair],
    talks: Sequence[Conversation],
    progress: Progress,
) -> tuple[Detector, Standing]:
    """The judge and what it may do; tells what it may not before anything is trained.

    A detector that is needed at the end only is loaded once now, so that a wrong one is refused.
    """
    with progress.status("trying the judge on people's replies"):
        if config.judges.detector not in (EMBEDDED_NAME, config.judges.judge):
            load_detector(config.judges.detector, "detector", lambda line: None)
        judge = load_detector(config.judges.judge, "judge", progress.say, talks)
        standing = check_before_training(judge, heldout, config.evaluation)
    if standing.no_verdict:
        progress.say(f"NO VERDICT can be given: {standing.no_verdict}")
    if standing.no_choice:
        reason = "" if standing.no_choice == standing.no_verdict else f": {standing.no_choice}"
        progress.say(f"checkpoints are chosen by the preference accuracy alone{reason}")
    return judge, standing


def describe_counts(counts: EncodingCounts) -> str:
    """What became of the pairs, in one line."""
    parts = [f"{counts.encoded:,} of {counts.pairs:,}"]
    if counts.long_responses:
        parts.append(f"{counts.long_responses:,} left out for a long response")
    if counts.equal_responses:
        parts.append(f"{counts.equal_responses:,} left out for equal responses")
    if counts.cut_prompts:
        parts.append(
            f"{counts.cut_prompts:,} prompts cut from the left ({counts.cut_tokens:,} tokens)"
        )
    spelt = SpeltTokens(counts.spelt_marks, counts.spelt_letters).describe("prompts and responses")
    return "; ".join([", ".join(parts), *([spelt] if spelt else [])])


def _save_reference(model: LanguageModel, target: Path) -> None:
    """Written aside and renamed: a folder of this name is whole."""
    partial = target.with_name(f".{target.name}.partial")
    save_language_model(model, partial)
    partial.rename(target)


class ReferenceScoring:
    """What the reference says of both parts of the pairs; a task that can be resumed.

    Args:
        model: the reference.
        training, heldout: the parts.
    """

    is_whole = True

    def __init__(self, model: LanguageModel, training: TokenPairs, heldout: TokenPairs) -> None:
        self._parts = {
            "training": PairScoring(model.model, training, "scoring the training pairs"),
            "heldout": PairScoring(model.model, heldout, "scoring the held-out pairs"),
        }

    @property
    def is_done(self) -> bool:
        """Whether all pairs are scored."""
        return all(part.is_done for part in self._parts.values())

    def run(self, is_stopping: Callable[[], bool]) -> bool:
        """Score what is left; whether all is done."""
        return all(part.run(is_stopping) for part in self._parts.values())

    def state_for_resume(self) -> State:
        """Of both parts."""
        return {name: part.state_for_resume() for name, part in self._parts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what is known of both parts.

        Raises:
            PairDataError: it is of other pairs or another tokenizer.
        """
        for name, part in self._parts.items():
            part.restore(state[name])

    def scored_pairs(self) -> tuple[TokenPairs, TokenPairs]:
        """Training and held-out pairs with the reference's log-probabilities."""
        training, heldout = (
            part.pairs.with_reference(part.log_probs) for part in self._parts.values()
        )
        return training, heldout


def _in_order(pairs: list[PreferencePair], encoded: TokenPairs) -> tuple[PreferencePair, ...]:
    by_id = {pair.id: pair for pair in pairs}
    return tuple(by_id[name] for name in encoded.ids)
