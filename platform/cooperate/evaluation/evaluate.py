"""`parley evaluate` of a generator that DPO tuned: from a run, a sweep, or a copied checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from parley.platform.cooperate.evaluation.cooperation import evaluate_generator
from parley.platform.cooperate.evaluation.generator_checkpoint import (
    GENERATOR,
    REFERENCE,
    device_of,
    experiment_of,
    load_policy,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.errors import InputError, display_path
from parley.platform.language.resolving import load_named_model
from parley.platform.language.text_ids import TextEncoder
from parley.platform.maxims.loading import load_detector
from parley.platform.maxims.pairs.conversations import find_training_conversations
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.pairs.named_pairs import load_pairs
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.records import Metrics
from parley.platform.runs.checkpoints import Checkpoint, resolve_checkpoint
from parley.platform.runs.kinds import find_run
from parley.platform.runs.run_inputs import MissingInputError, find_inputs
from parley.platform.settings.resuming import moved_inputs
from parley.policies.dialogue.loading import LanguageModel


def evaluate_dpo(
    path: Path,
    num_prompts: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
) -> Metrics:
    """Measure a tuned generator against its reference, and keep the result in its run folder.

    Args:
        path: a run or sweep of `dialogue/dpo`, or a checkpoint in one.
        num_prompts: held-out prompts; None: as the experiment says.
        seed: of prompts and drawn responses; likewise.
        data: prepared folder whose held-out part is used; None: the run's own.
        overrides: `key=value` of inputs that lie elsewhere by now, or of another judge.

    Raises:
        InputError: data, model or detector cannot be had, or is another one than the run's.
    """
    checkpoint = resolve_checkpoint(path)
    config, has_base = _find_parts(checkpoint, data is None, overrides)
    evaluation = config.evaluation
    split = _load_split(config, data)
    is_prepared = bool(data or config.data.path)
    talks = find_training_conversations(split) if is_prepared else []
    with limit_threads(config.learner.num_threads):
        tuned, reference = (
            load_policy(checkpoint, name, config) for name in (GENERATOR, REFERENCE)
        )
        result = evaluate_generator(
            tuned,
            reference,
            _load_base(config) if has_base else None,
            keep_short(split.heldout, tuned, config.data.max_response_tokens),
            load_detector(config.judges.detector, "detector", _tell),
            load_detector(config.judges.judge, "judge", _tell, talks),
            config,
            evaluation.final_prompts if num_prompts is None else num_prompts,
            evaluation.seed if seed is None else seed,
            print,
        )
    run = find_run(checkpoint.path)
    if run is not None:
        used = display_path(data) if data else config.data.path or "pairs that parley generates"
        try:
            result.write(run, f"{checkpoint.path.name}, held-out part of {used}")
        except OSError as error:
            _tell(f"not kept in {display_path(run)}: {error.strerror or error}")
    return result.metrics


def keep_short(
    pairs: list[PreferencePair], model: LanguageModel, max_response_tokens: int
) -> list[PreferencePair]:
    """The pairs whose responses are no longer than those of training; tells how many are not.

    Raises:
        InputError: none is left.
    """
    limit = min(max_response_tokens, model.context - 1)
    sides = [
        TextEncoder(model.tokenizer).encode_responses(responses)
        for responses in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    ]
    longest = [max(len(chosen), len(rejected)) for chosen, rejected in zip(*sides, strict=True)]
    kept = [pair for pair, length in zip(pairs, longest, strict=True) if length <= limit]
    if len(kept) < len(pairs):
        _tell(
            f"{len(pairs) - len(kept)} of {len(pairs)} held-out pairs have a response of more than "
            f"{limit} tokens and are left out, as in training"
        )
    if pairs and not kept:
        raise InputError(
            f"no held-out pair has responses of at most {limit} tokens "
            f"(data.max_response_tokens and the model's window); use other data"
        )
    return kept


def _load_split(config: DialogueDPOConfig, data: Path | None) -> PairSplit:
    """The pairs of the folder that is named, else those of the run."""
    if data is not None:
        return read_pairs(data)
    if config.data.path and not Path(config.data.path).is_dir():
        raise InputError(
            f"the run's data {config.data.path} is not here; go to the folder in which it was "
            f"trained, or name the prepared folder by --data DIR"
        )
    return load_pairs(config.data, config.seed)


def _find_parts(
    checkpoint: Checkpoint, reads_own_data: bool, overrides: Sequence[str]
) -> tuple[DialogueDPOConfig, bool]:
    """The settings with every input where it lies now; and whether the untuned model is to be had.

    Where that is gone, its row is left out; another one is refused.
    """
    config = experiment_of(checkpoint)
    moved = moved_inputs(config, overrides)
    keys = ["judges.judge", "judges.detector", *["data.path"] * reads_own_data]
    config = find_inputs(config, checkpoint, keys, moved)
    if not config.supervised.num_epochs:
        return config, False
    try:
        return find_inputs(config, checkpoint, ["model"], moved), True
    except MissingInputError as error:
        _tell(f"the model before tuning is left out: {error}")
        return config, False


def _load_base(config: DialogueDPOConfig) -> LanguageModel | None:
    """The model before supervised tuning; its row is left out where it cannot be had any more."""
    try:
        return load_named_model(config.model, _tell, device_of(config))
    except InputError as error:
        _tell(f"the model before tuning is left out: {error}")
        return None


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
