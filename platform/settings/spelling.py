"""Which known name somebody meant who wrote another: by the field's words, abbreviations, letters.

Names are dotted keys of settings, or anything else with `.`, `/` and `_` between its words. What
comes first decides: the same letters, another word of the field for it, its initials, an
abbreviation of its words, and then similar letters.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import takewhile

SIMILAR = 0.6
"""Least share of letters in common (difflib's ratio) of names that are taken for each other."""
MAX_NAMES = 3
MIN_PART_CHARS = 2
"""A letter alone abbreviates nothing."""
SYNONYMS: dict[str, tuple[str, ...]] = {
    "alpha": ("learning_rate",),
    "batch": ("batch_size", "batch_tokens", "minibatch_size", "minibatch_traces"),
    "batchsize": ("minibatch_size", "batch_tokens", "minibatch_traces"),
    "bf16": ("precision",),
    "bs": ("batch_size", "minibatch_size", "batch_tokens", "minibatch_traces"),
    "clipcoef": ("clip",),
    "clipeps": ("clip",),
    "clipgrad": ("max_grad_norm",),
    "clipparam": ("clip",),
    "cliprange": ("clip",),
    "contextlength": ("context", "max_len", "window"),
    "cpus": ("num_cpus",),
    "discount": ("gamma",),
    "discountfactor": ("gamma",),
    "dmodel": ("embed_size",),
    "dtype": ("precision",),
    "entcoef": ("entropy_coefficient",),
    "epsilon": ("clip",),
    "fp16": ("precision",),
    "gpus": ("num_gpus_per_learner",),
    "gradclip": ("max_grad_norm",),
    "hiddendim": ("embed_size",),
    "hiddensize": ("embed_size",),
    "horizon": ("rollout_fragment_length", "max_steps", "max_turns"),
    "iterations": ("max_iterations", "num_iterations"),
    "iters": ("max_iterations", "num_iterations"),
    "klcoef": ("kl", "beta"),
    "lam": ("gae_lambda",),
    "lambd": ("gae_lambda",),
    "lambda": ("gae_lambda",),
    "lorar": ("rank",),
    "maxlength": ("max_len", "context", "max_new_tokens", "max_reply_tokens"),
    "microbatchsize": ("device_batch_size",),
    "nctx": ("context", "max_len"),
    "nembd": ("embed_size",),
    "nenvs": ("num_envs_per_env_runner",),
    "nhead": ("heads",),
    "nlayer": ("layers",),
    "nsteps": ("rollout_fragment_length", "num_steps"),
    "numattentionheads": ("heads",),
    "numenvs": ("num_envs_per_env_runner",),
    "numhiddenlayers": ("layers",),
    "numworkers": ("num_env_runners",),
    "perdevicetrainbatchsize": ("device_batch_size",),
    "r": ("rank",),
    "randomseed": ("seed",),
    "steps": ("num_steps", "max_env_steps", "max_iterations", "num_iterations"),
    "stepsize": ("learning_rate",),
    "timesteps": ("max_env_steps", "num_steps"),
    "totaltimesteps": ("max_env_steps", "num_steps"),
    "trainbatchsize": ("batch_size", "minibatch_size"),
    "trials": ("num_samples",),
    "vfcoef": ("value_coefficient",),
    "workers": ("num_env_runners", "num_workers"),
}
"""Word of the field, without separators -> last parts of the keys that it may stand for here."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` for what `word` may have meant, or an empty string.

    Names are listed together where they fit equally well, such as one setting of two sections.
    """
    found = nearest_names(word, known)
    *others, last = found or [""]
    return f" (did you mean {', '.join(others)}{' or ' if others else ''}{last}?)" if found else ""


def nearest_names(word: str, known: Iterable[str]) -> list[str]:
    """The known names that fit best, at most `MAX_NAMES`; none where nothing is alike."""
    section, leaf = _split(word)
    ranked: list[tuple[tuple[float, ...], str]] = []
    for name in dict.fromkeys(known):
        other_section, other_leaf = _split(name)
        if (level := _level(leaf, other_leaf)) is None:
            continue
        beside = _similarity(section, other_section) if section else 0.0
        ranked.append(((*level, -beside - _similarity(leaf, other_leaf)), name))
    ranked.sort(key=lambda pair: pair[0])
    return [name for _, name in takewhile(lambda pair: pair[0] == ranked[0][0], ranked)][:MAX_NAMES]


def _level(word: str, name: str) -> tuple[int, int] | None:
    """How `word` may stand for `name`, the best way first; None: not at all."""
    letters, parts = _letters(word), _parts(name)
    if letters == _letters(name):
        return 0, 0
    if name in (synonyms := SYNONYMS.get(letters, ())):
        return 1, synonyms.index(name)
    if len(parts) > 1 and letters == "".join(part[0] for part in parts):
        return 2, 0
    if _abbreviates(_parts(word), parts):
        return 3, 0
    return (4, 0) if _similarity(word, name) >= SIMILAR else None


def _abbreviates(short: list[str], parts: list[str]) -> bool:
    """Whether the words of `short` begin some of `parts`, in their order."""
    if not short or min(map(len, short)) < MIN_PART_CHARS:
        return False
    rest = iter(parts)
    return all(any(part.startswith(piece) for part in rest) for piece in short)


def _similarity(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first, second).ratio()


def _split(name: str) -> tuple[str, str]:
    """What stands before the last part of a name, and that part."""
    *before, leaf = re.split("[./]", name)
    return ".".join(before), leaf


def _parts(name: str) -> list[str]:
    return [part for part in re.split("[-_ ]", name.lower()) if part]


def _letters(name: str) -> str:
    return "".join(_parts(name))
