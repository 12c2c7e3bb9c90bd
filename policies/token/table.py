"""The table of policies over tokens: plain data, which loads nothing.

A new policy is its file, with a function that builds it and one that loads it, and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PolicyEntry:
    """What one policy is; functions are named `module:function`."""

    summary: str
    build: str
    """`Settings` (see `building`) -> an `actor_critic.ActorCritic` with fresh weights."""
    load: str
    """The folder of a saved one -> the policy."""
    model_type: str
    """What its `config.json` calls it; policies may share one."""
    is_language_model: bool = False
    """Whether it reads and writes whole sequences, of the sizes in `[model]`."""
    has_filter: bool = False
    """Whether it has an HMM belief filter, with settings of its own."""


_ACTOR_CRITIC = "parley.policies.token.actor_critic"
_MLP = "parley.policies.token.mlp"

POLICIES = {
    "dhmm_gpt2": PolicyEntry(
        summary="GPT-2 with a differentiable HMM belief filter before attention",
        build=f"{_ACTOR_CRITIC}:build_dhmm_gpt2",
        load=f"{_ACTOR_CRITIC}:load_language_policy",
        model_type="dhmm_gpt2",
        is_language_model=True,
        has_filter=True,
    ),
    "gpt2": PolicyEntry(
        summary="the same GPT-2 without the filter",
        build=f"{_ACTOR_CRITIC}:build_gpt2",
        load=f"{_ACTOR_CRITIC}:load_language_policy",
        model_type="dhmm_gpt2",
        is_language_model=True,
    ),
    "mlp": PolicyEntry(
        summary="two-layer perceptron on one-hot tokens, the small baseline",
        build=f"{_MLP}:build_mlp",
        load=f"{_MLP}:load_mlp",
        model_type="token_mlp",
    ),
}
"""Name -> the policy, for windows of tokens."""

LANGUAGE_MODELS = tuple(name for name, entry in POLICIES.items() if entry.is_language_model)
"""Those that also read whole sequences."""
WITH_FILTER = tuple(name for name, entry in POLICIES.items() if entry.has_filter)
