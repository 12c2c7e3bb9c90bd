"""Nested training state as two files: tensors in safetensors, everything else in JSON.

Reading such a file runs no code, unlike a pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

_ARRAY, _PAIRS, _TUPLE = "__array__", "__pairs__", "__tuple__"


def save_tree(tree: Any, stem: Path) -> None:
    """Write `tree` to `<stem>.json` and `<stem>.safetensors`.

    Args:
        tree: dicts, lists, tuples, numpy arrays and numbers, strings, booleans and None.

    Raises:
        TypeError: something else is in it.
    """
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_encode(tree, arrays))
    save_file(arrays, stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(text, encoding="utf-8")


def load_tree(stem: Path) -> Any:
    """Read what `save_tree` wrote.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        arrays = load_file(stem.with_suffix(".safetensors"))
        return _decode(json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")), arrays)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{stem}.json, {stem}.safetensors: missing or damaged ({error})"
        ) from error


def _encode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"t{len(arrays)}"
        arrays[name] = np.array(value, order="C")
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return _encode(np.asarray(value), arrays)
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _encode(inner, arrays) for key, inner in value.items()}
        return {_PAIRS: [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_encode(inner, arrays) for inner in value]}
    if isinstance(value, list):
        return [_encode(inner, arrays) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot save a {type(value).__name__}")


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return arrays[value[_ARRAY]]
    if _PAIRS in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value[_PAIRS]}
    if _TUPLE in value:
        return tuple(_decode(inner, arrays) for inner in value[_TUPLE])
    return {key: _decode(inner, arrays) for key, inner in value.items()}
