"""What all trials of DPO share: pairs as tokens, the reference, what it says, and the judge.

    config ─► pairs ─► tokens ─────────────┐
           └► model ─► supervised tuning ──┴─► reference log-probabilities ─► Preparation

Nothing in here depends on a setting that a sweep searches. It is made once, kept in the run folder
for `--resume`, and goes to the trials through Ray's object store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerFast

from parley.platform.checkpoints.state_tree import load_tree, save_tree
from parley.platform.config.dpo import DialogueDPOConfig
from parley.platform.evaluation.generator_checkpoint import REFERENCE, device_of
from parley.platform.jobs.dpo_judges import keep_judges
from parley.platform.judges.detector import Detector
from parley.platform.judges.loading import load_detector
from parley.platform.learners.dpo_data import EncodingCounts, TokenPairs, encode_pairs
from parley.platform.learners.dpo_loader import check_warmup
from parley.platform.learners.dpo_scoring import response_log_probs
from parley.platform.learners.supervised import fine_tune
from parley.platform.models.resolving import load_named_model
from parley.platform.models.text_ids import SpeltTokens
from parley.platform.preferences.loading import load_pairs
from parley.platform.preferences.pair import PreferencePair
from parley.platform.telemetry.progress import Progress
from parley.policies.dialogue.loading import (
    LanguageModel,
    ModelParts,
    build_from_parts,
    save_language_model,
    take_apart,
)
from parley.policies.dialogue.speaker import context_of

PREPARED_STEM = "prepared"
"""What the reference says of the pairs, in the run folder."""


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

    def build_reference(self) -> LanguageModel:
        """The reference, ready to speak; also what every trial starts as."""
        model = build_from_parts(self.reference.config, self.reference.state)
        end_token = int(cast("int", self.tokenizer.eos_token_id))
        return LanguageModel(model, self.tokenizer, end_token, context_of(model), REFERENCE)


def prepare(config: DialogueDPOConfig, folder: Path, progress: Progress) -> Preparation:
    """Everything that the trials share; what takes long is kept in the run folder.

    Args:
        config: the experiment.
        folder: of the run; a resumed run finds its reference there.
        progress: shows what is being done, and what happened to the data.

    Raises:
        InputError: data, model or judges cannot be used, or are not those that the run began with.
    """
    keep_judges(config.judges, folder)
    with progress.status("reading the pairs"):
        split = load_pairs(config.data, config.seed)
    if split.spelt_ends:
        progress.say(
            f"{split.spelt_ends:,} pairs spell an end token at the end of a turn or response, "
            f"which is left out"
        )
    reference_folder = folder / REFERENCE
    known = reference_folder.is_dir()
    model = load_named_model(str(reference_folder) if known else config.model, progress.say)
    tokenizer = cast("PreTrainedTokenizerFast", model.tokenizer)
    training, counts = encode_pairs(split.training, tokenizer, model.context, config.data)
    progress.say(f"training pairs: {describe_counts(counts)}")
    heldout, counts = encode_pairs(split.heldout, tokenizer, model.context, config.data)
    progress.say(f"held-out pairs: {describe_counts(counts)}")
    check_warmup(training, config.dpo)
    torch.nn.Module.to(model.model, device_of(config))
    if not known:
        if config.supervised.num_epochs:
            with progress.status("supervised fine-tuning on the chosen responses"):
                fine_tune(model.model, training, config.supervised, config.seed)
        _save_reference(model, reference_folder)
    with progress.status("scoring the pairs with the reference"):
        training, heldout = _score(model, training, heldout, folder / PREPARED_STEM, progress.say)
    with progress.status("loading the judge"):
        judge = load_detector(config.judges.judge, "judge", progress.say)
    return Preparation(
        reference=take_apart(model.model),
        tokenizer=tokenizer,
        training=training,
        heldout=heldout,
        heldout_pairs=_in_order(split.heldout, heldout),
        judge=judge,
    )


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


def _score(
    model: LanguageModel,
    training: TokenPairs,
    heldout: TokenPairs,
    stem: Path,
    say: Callable[[str], None],
) -> tuple[TokenPairs, TokenPairs]:
    """The pairs with what the reference says of them, computed or from the run folder.

    Raises:
        InputError: the run folder's figures are of other pairs or another tokenizer.
    """
    stored = _load_scores(stem, say)
    if stored is None:
        stored = {
            name: {
                "fingerprint": pairs.fingerprint,
                "log_probs": response_log_probs(model.model, pairs),
            }
            for name, pairs in (("training", training), ("heldout", heldout))
        }
        _save_scores(stored, stem)
    training.check_same(stored["training"]["fingerprint"])
    heldout.check_same(stored["heldout"]["fingerprint"])
    return (
        training.with_reference(stored["training"]["log_probs"]),
        heldout.with_reference(stored["heldout"]["log_probs"]),
    )


def _load_scores(stem: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """What `_save_scores` wrote; None where it wrote nothing, or where that is damaged."""
    if not stem.with_suffix(".json").is_file():
        return None
    try:
        stored: dict[str, Any] = load_tree(stem)
    except ValueError as error:
        say(f"{error}; scoring the pairs again")
        return None
    return stored


def _save_scores(scores: dict[str, Any], stem: Path) -> None:
    """Written aside and renamed, last the file by whose presence both are known to be whole."""
    partial = stem.with_name(f".{stem.name}")
    save_tree(scores, partial)
    for suffix in (".safetensors", ".json"):
        partial.with_suffix(suffix).replace(stem.with_suffix(suffix))


def _in_order(pairs: list[PreferencePair], encoded: TokenPairs) -> tuple[PreferencePair, ...]:
    by_id = {pair.id: pair for pair in pairs}
    return tuple(by_id[name] for name in encoded.ids)
