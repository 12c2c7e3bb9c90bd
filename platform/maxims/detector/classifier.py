"""A transformers sequence classifier as a detector: any model with one label for each maxim."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from parley.platform.errors import InputError, display_path
from parley.platform.language.text_ids import encode_plainly
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.terminal.activities import each
from parley.policies.dialogue.pretrained import WeightsError, load_pretrained
from parley.policies.dialogue.probing import find_position_limit

THRESHOLDS_FILE = "thresholds.json"
DEFAULT_THRESHOLD = 0.5
BATCH_TOKENS = 8_192
"""Most tokens of one forward pass, padding included; one long row may have more."""
DEFAULT_MAX_TOKENS = 512
"""Where neither the tokenizer nor the model says how much it reads."""


class ClassifierError(InputError):
    """A sequence classifier that cannot be loaded, or has other labels."""


class ClassifierDetector(Detector):
    """Scores the text `[CONTEXT] … [EVIDENCE] … [RESPONSE] …`; a sigmoid for each label.

    A text that is longer than the model reads is cut from the left: the response is kept.

    Args:
        model: a sequence classifier in eval mode.
        tokenizer: its tokenizer.
        columns: [4] the model's label of each maxim, by the order of `MAXIMS`.
        thresholds: float64 [4].
    """

    def __init__(
        self, model: Any, tokenizer: Any, columns: Sequence[int], thresholds: NDArray[np.float64]
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.thresholds = thresholds
        self._columns = list(columns)
        self._max_tokens = _max_tokens(model, tokenizer)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        tokenizer.truncation_side = "left"
        tokenizer.padding_side = "right"

    @classmethod
    def load(cls, name: str, log: Callable[[str], None]) -> ClassifierDetector:
        """The classifier in a folder, or of this Hugging Face name.

        Raises:
            ClassifierError: it cannot be loaded, or its labels are not the four maxims.
        """
        try:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            columns = match_labels(config.id2label, name)
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model = load_pretrained(AutoModelForSequenceClassification, name, config=config)
        except WeightsError as error:
            raise ClassifierError(
                f"{name} cannot be loaded as a sequence classifier: {error.reason}; name one that "
                f"was trained on the four maxims and saved with its head, or `embedded`"
            ) from error
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise ClassifierError(
                f"{name} cannot be loaded as a sequence classifier: {error}; name a folder or a "
                f"Hugging Face model with its tokenizer, or `embedded`"
            ) from error
        thresholds = _read_thresholds(Path(name) / THRESHOLDS_FILE, log)
        return cls(model.eval(), tokenizer, columns, thresholds)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        """Probabilities of violation, float64 [N, 4]; rows of like length share a batch."""
        scores = np.zeros((len(rows), len(MAXIMS)))
        if not rows:
            return scores
        texts = [_text_of(row) for row in rows]
        encoded = encode_plainly(self.tokenizer, texts, True, self._max_tokens)
        order = sorted(range(len(rows)), key=lambda index: (len(encoded[index]), index))
        batches = _batches(order, [len(ids) for ids in encoded])
        for batch in each(batches, "judging", "batches"):
            inputs = self.tokenizer.pad(
                {"input_ids": [encoded[index] for index in batch]},
                return_attention_mask=True,
                return_tensors="pt",
            ).to(self.model.device)
            logits = self.model(**inputs).logits[:, self._columns]  # [B, 4]
            scores[batch] = torch.sigmoid(logits.float()).cpu().double().numpy()
        return scores


def match_labels(id2label: Mapping[int, str], name: str) -> list[int]:
    """The label of each maxim, by the order of `MAXIMS`; names are compared without case.

    Raises:
        ClassifierError: a maxim has no label, or there are others.
    """
    found = {str(label).strip().lower(): int(index) for index, label in id2label.items()}
    if set(found) != set(MAXIMS):
        raise ClassifierError(
            f"{name} has the labels {', '.join(map(str, id2label.values()))}; a detector needs "
            f"{', '.join(MAXIMS)}: set id2label in its config.json"
        )
    return [found[maxim] for maxim in MAXIMS]


def _text_of(row: Exchange) -> str:
    context, evidence, response = map(normalise_space, row)
    return f"[CONTEXT] {context} [EVIDENCE] {evidence} [RESPONSE] {response}"


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Runs of `order`, shortest first, of at most `BATCH_TOKENS` padded tokens."""
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _max_tokens(model: Any, tokenizer: Any) -> int:
    """What the model can read: the least of what tokenizer, configuration and tables say."""
    said = (
        getattr(tokenizer, "model_max_length", None),
        getattr(model.config, "max_position_embeddings", None),
        find_position_limit(model),
    )
    # Tokenizers without a limit say 1e30.
    limits = [int(limit) for limit in said if isinstance(limit, int) and 0 < limit < 1_000_000]
    return min(limits, default=DEFAULT_MAX_TOKENS)


def _read_thresholds(path: Path, log: Callable[[str], None]) -> NDArray[np.float64]:
    """`{"quantity": 0.4, …}`; one half where there is no such file."""
    if not path.is_file():
        log(f"no {THRESHOLDS_FILE} next to the classifier: every threshold is {DEFAULT_THRESHOLD}")
        return np.full(len(MAXIMS), DEFAULT_THRESHOLD)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        thresholds = np.array([float(given[maxim]) for maxim in MAXIMS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClassifierError(
            f"{display_path(path)} does not give a number to each of {', '.join(MAXIMS)}: {error!r}"
        ) from error
    return thresholds
