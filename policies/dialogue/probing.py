"""What a model does, found out by having it read a few tokens.

A forward signature and a configuration promise little: masks may be ignored, later tokens seen,
weights changed by reading. What is found holds for a model's architecture, so each model is asked
once, before anybody wraps or trains it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

Found = TypeVar("Found")

FORWARD_ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    IndexError,
    KeyError,
    AssertionError,
    ImportError,
)
"""How models fail on input that they cannot read."""
SAME = 1e-5
"""Difference, relative to the largest value, of two float32 computations that are the same but for
the order of sums."""
SAME_IN_HALF = 2e-2
PROBE_LENGTH = 12
LONGEST_PROBE = 160
"""Tokens beyond which a probe would take too long."""
_LIMITS = re.compile(r"window|chunk|local|block|span|stride|bucket|segment|sparse|top_?k|mem_len")
_COUNTS = re.compile(r"layer|expert|head|dim$|multipl")
"""Settings that count layers or features, whatever else their names say."""


def once_per_model(find: Callable[[Any], Found]) -> Callable[[Any], Found]:
    """Ask `find(model)` once for each model, and remember the answer as long as the model lives.

    It is asked in evaluation mode, without gradients.
    """
    known: WeakKeyDictionary[nn.Module, Found] = WeakKeyDictionary()

    @wraps(find)
    def ask(model: nn.Module) -> Found:
        if model not in known:
            with evaluating(model), torch.no_grad():
                known[model] = find(model)
        return known[model]

    return ask


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Without dropout for a while."""
    was_training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, training in zip(models, was_training, strict=True):
            model.train(training)


def probe_tokens(model: PreTrainedModel, length: int, seed: int = 0) -> Tensor:
    """Arbitrary tokens, int64 [length], none of them the padding token."""
    config = model.config.get_text_config()
    embeddings: Any = model.get_input_embeddings()
    vocab_size = len(embeddings.weight)
    tokens = np.random.default_rng(seed).integers(vocab_size, size=length)
    pad = getattr(config, "pad_token_id", None)
    tokens[tokens == pad] = (tokens[tokens == pad] + 1) % vocab_size
    return torch.from_numpy(tokens).to(model.device)


def are_same(found: Tensor, expected: Tensor, tolerance: float = SAME) -> bool:
    """Whether two tensors of one shape hold the same numbers but for rounding.

    Non-finite weights are not for a probe to judge: they say nothing about the architecture.
    """
    if found.shape != expected.shape:
        return False
    if not expected.isfinite().all():
        return True
    if expected.dtype != torch.float32:
        tolerance = max(tolerance, SAME_IN_HALF)
    scale = float(expected.float().abs().max()) or 1.0
    return float((found.float() - expected.float()).abs().max()) <= tolerance * scale


def limits_of_sight(model: PreTrainedModel, context: int) -> list[int]:
    """Numbers of tokens below `context` that a model's configuration names as a limit of sight.

    Windows, chunks, blocks and the like, whatever their exact names: more is listed than matters.
    """
    found: set[int] = set()

    def collect(settings: Mapping[str, Any], is_limit: bool) -> None:
        for key, value in settings.items():
            named = bool(_LIMITS.search(str(key))) and not _COUNTS.search(str(key))
            values = value if isinstance(value, (list, tuple)) else [value]
            for one in values:
                if isinstance(one, Mapping):
                    collect(one, is_limit or named)
                elif (is_limit or named) and type(one) is int and 1 < one < context:
                    found.add(one)

    collect(model.config.get_text_config().to_dict(), False)
    return sorted(found)


def length_beyond_sight(model: PreTrainedModel, context: int) -> int | None:
    """So many tokens that every limit of sight shows; None where a probe would take too long.

    Layers that name their kind are believed: any other kind than full attention has limits.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    if set(kinds) - {"full_attention"}:
        return None
    limits = limits_of_sight(model, context)
    length = max(PROBE_LENGTH, *(limit + PROBE_LENGTH for limit in limits), 0)
    return min(length, context) if length <= LONGEST_PROBE else None


@once_per_model
def find_position_limit(model: PreTrainedModel) -> int | None:
    """The longest sequence that the model's tables of positions serve; None where it has none.

    A short sequence is read, and tables from which consecutive rows are taken are looked at: some
    begin at a later row, and then serve fewer tokens than they have rows.
    """
    tokens = probe_tokens(model, 5)
    with _TableWatch(model, len(tokens)) as watch:
        try:
            model(input_ids=tokens[None])
        except FORWARD_ERRORS:
            return None
    return min(watch.limits, default=None)


def context_of(model: PreTrainedModel) -> int:
    """The longest sequence in tokens that the model can read.

    Raises:
        ValueError: neither its configuration nor a table of positions says.
    """
    said = [
        size
        for name in ("n_positions", "max_position_embeddings", "max_len", "n_ctx")
        if isinstance(size := getattr(model.config.get_text_config(), name, None), int) and size > 0
    ]
    limits = [size for size in (*said[:1], find_position_limit(model)) if size is not None]
    if limits:
        return min(limits)
    raise ValueError(
        f"the configuration of {type(model).__name__} does not say how long a sequence may be "
        "(max_position_embeddings); add it to its config.json"
    )


class _TableWatch(TorchDispatchMode):
    """Notes how far a model's tables reach from which rows `first, first + 1, ...` are taken."""

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__()
        kept = (*model.parameters(), *model.buffers())
        self._tables = {tensor.untyped_storage().data_ptr() for tensor in kept}
        self._length = length
        self.limits: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.embedding.default:
            self._look(args[0], args[1])
        elif func is torch.ops.aten.index_select.default and args[1] == 0:
            self._look(args[0], args[2])
        elif func is torch.ops.aten.index.Tensor and len(args[1]) == 1 and args[0].dim() == 2:
            self._look(args[0], args[1][0])
        return func(*args, **(kwargs or {}))

    def _look(self, table: Tensor, rows: Tensor) -> None:
        if rows.dtype == torch.bool or rows.numel() != self._length:
            return
        if table.untyped_storage().data_ptr() not in self._tables:
            return  # rows of what was computed, as where experts share the tokens among them
        taken = rows.flatten()
        if bool((taken.diff() == 1).all()):
            self.limits.append(len(table) - int(taken[0]))
