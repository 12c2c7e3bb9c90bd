"""What `from_pretrained` leaves unsaid: weights that it would fill in at random, or run as code."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

ADAPTER_FILE = "adapter_config.json"
"""What marks an adapter of PEFT."""
_REFUSED = "UnpicklingError"
"""What torch raises for a file that holds more than tensors."""


class WeightsError(ValueError):
    """Weights that cannot be had, or are not those of the model.

    Attributes:
        reason: what is wrong with them.
        remedy: what to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")


def load_pretrained(auto_class: Any, name: str, **options: Any) -> Any:
    """`auto_class.from_pretrained(name, **options)` with all weights from the file, quietly.

    Raises:
        WeightsError: a weight is missing, of another shape or of a layer that the model has not;
            the file is damaged, or holds more than tensors; an adapter lies next to it.
        Exception: whatever else transformers finds wrong, as it says it.
    """
    adapter = find_adapter(name)
    if adapter is not None:
        # transformers would load the model that the adapter names, from wherever that lies.
        raise WeightsError(
            f"{ADAPTER_FILE} lies there too, and nothing says whether the weights have taken that "
            "adapter in",
            "delete the adapter_* files if they have, or if the model is wanted without it; else "
            f"move them to a folder of their own, whose {ADAPTER_FILE} names this one as "
            "base_model_name_or_path",
        )
    try:
        with quiet_transformers():
            model, report = auto_class.from_pretrained(
                name,
                trust_remote_code=False,  # unless told, transformers asks on the terminal
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below with their names
                **options,
            )
    except (SafetensorError, EOFError, RuntimeError) as error:
        raise WeightsError(
            f"its weights cannot be read ({first_line(error)})",
            "the file is truncated or damaged: copy or download it again",
        ) from error
    except Exception as error:
        if type(error).__name__ != _REFUSED:
            raise
        raise WeightsError(
            "pytorch_model.bin holds more than tensors, which would run code when it is read",
            "convert it to model.safetensors where you trust its source",
        ) from error
    _check_report(model, report)
    return model


def find_adapter(source: str) -> Path | None:
    """The folder that holds an adapter of PEFT; None where `source` holds none.

    Args:
        source: a folder, or a Hugging Face name, which is looked for in the local cache.
    """
    folder = Path(source)
    if not folder.is_dir():
        try:
            found = try_to_load_from_cache(source, ADAPTER_FILE)
        except ValueError:  # no name that the Hub could have
            return None
        folder = Path(found).parent if isinstance(found, str) else folder
    return folder if (folder / ADAPTER_FILE).is_file() else None


def _check_report(model: PreTrainedModel, report: dict[str, Any]) -> None:
    missing = sorted(set(report["missing_keys"]) - set(model.all_tied_weights_keys))
    mismatched = sorted(str(key[0]) for key in report["mismatched_keys"])
    # Heads of other tasks may lie next to a model, layers that it does not have may not.
    prefix = f"{model.base_model_prefix}."
    unexpected = sorted(
        key
        for key in report["unexpected_keys"]
        if key.startswith(prefix) and key.endswith(".weight")
    )
    if missing or mismatched or unexpected:
        raise WeightsError(
            f"its weights are of another model: missing {some(missing)}, of another shape "
            f"{some(mismatched)}, unexpected {some(unexpected)}",
            "config.json and weights must come from the same model",
        )


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first names, and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and warnings of transformers; what matters is checked and raised."""
    level = transformers_logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if had_bars:
            transformers_logging.enable_progress_bar()
