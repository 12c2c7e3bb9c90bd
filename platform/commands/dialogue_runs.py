"""Which measure fits a run of the dialogue workflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parley.platform.cooperate.evaluation.evaluate import evaluate_dpo
from parley.platform.cooperate.evaluation.generator_checkpoint import is_generator
from parley.platform.distort.evaluation import evaluate_distorter
from parley.platform.errors import InputError
from parley.platform.language.evaluation import evaluate_pretrained
from parley.platform.maxims.detection import evaluate_detector
from parley.platform.runs.checkpoints import resolve_checkpoint


def evaluate_path(
    path: Path,
    episodes: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure a run or checkpoint: self-play by dialogues, pretraining by held-out text, DPO by
    held-out preference pairs, a detector by labelled responses.

    Args:
        path: a run folder or a checkpoint in one.
        episodes: dialogues, or prompts.
        seed: of played dialogues, or of drawn responses.
        data: text to measure a pretrained model on, prepared pairs, or a file of responses.
        overrides: `key=value` of models, data and judges that lie elsewhere by now.

    Raises:
        InputError: there is no sound checkpoint, or an argument does not fit it.
    """
    checkpoint = resolve_checkpoint(path)
    if checkpoint.read_policy_facts().get("policy") == "detector":
        if overrides:
            raise InputError(f"a detector is measured as it stands: leave out {overrides[0]}")
        return evaluate_detector(checkpoint, data)
    if is_generator(checkpoint.read_policy_facts()):
        return evaluate_dpo(checkpoint, episodes, seed, data, overrides)
    if "experiment" not in checkpoint.read_policy_facts():
        return evaluate_pretrained(checkpoint, episodes, data, overrides)
    if data is not None:
        raise InputError("self-play is measured by playing dialogues: leave out --data")
    return evaluate_distorter(checkpoint, episodes, seed, overrides)
