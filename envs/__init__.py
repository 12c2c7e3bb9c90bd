"""Environments: pure rules, tokenizers and rewards. No torch, and Ray in the adapters only.

`ENVIRONMENTS` is the table of all environments. Importing this package makes the single-agent ones
known to gymnasium, which since version 1.0 looks for no plugins by itself, and the multi-agent ones
to RLlib, without loading either:

    import gymnasium
    import parley.envs
    gymnasium.make("parley/TokenCartPole-v0")      # or "parley.envs:parley/..." without the import
    PPOConfig().environment("parley/Dialogue", env_config={...})
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Literal

from parley.envs.when_imported import when_imported


@dataclass(frozen=True)
class EnvironmentEntry:
    """One row of `ENVIRONMENTS`; the classes are named, not imported."""

    id: str
    summary: str
    entry_point: str
    """"module:Class": a `gymnasium.Env` if single, an RLlib `MultiAgentEnv` if multi."""
    kind: Literal["single", "multi"]
    pettingzoo_entry_point: str | None = None
    """"module:Class" of the same environment for PettingZoo, where there is one."""

    def load(self) -> Any:
        """Import and return the class of `entry_point`."""
        module, _, name = self.entry_point.partition(":")
        return getattr(importlib.import_module(module), name)


ENVIRONMENTS: dict[str, EnvironmentEntry] = {
    entry.id: entry
    for entry in (
        EnvironmentEntry(
            id="parley/TokenCartPole-v0",
            summary="balance a pole, seeing only tokens of the quantised state",
            entry_point="parley.envs.cartpole.single:TokenCartPole",
            kind="single",
        ),
        EnvironmentEntry(
            id="parley/Addition-v0",
            summary="add two numbers, writing digits and carries",
            entry_point="parley.envs.trace.environment:AdditionEnv",
            kind="single",
        ),
        EnvironmentEntry(
            id="parley/Sorting-v0",
            summary="bubble sort, writing every comparison and the array after it",
            entry_point="parley.envs.trace.environment:SortingEnv",
            kind="single",
        ),
        EnvironmentEntry(
            id="parley/Markov-v0",
            summary="walk through a Markov chain; likely steps pay",
            entry_point="parley.envs.trace.environment:MarkovEnv",
            kind="single",
        ),
        EnvironmentEntry(
            id="parley/MultiCartPole",
            summary="several token carts that start together and end one by one",
            entry_point="parley.envs.cartpole.multi:MultiCartPole",
            kind="multi",
            pettingzoo_entry_point="parley.envs.cartpole.parallel:ParallelCartPole",
        ),
        EnvironmentEntry(
            id="parley/Dialogue",
            summary="seats that answer each other in token ids, one utterance a step",
            entry_point="parley.envs.dialogue.multi:MultiDialogue",
            kind="multi",
            pettingzoo_entry_point="parley.envs.dialogue.aec:AECDialogue",
        ),
    )
}


def register_gymnasium() -> None:
    """Register the single-agent environments with gymnasium; once is enough, twice does no harm."""
    import gymnasium  # which loads numpy, and the table alone needs neither

    for entry in ENVIRONMENTS.values():
        if entry.kind == "single" and entry.id not in gymnasium.registry:
            gymnasium.register(id=entry.id, entry_point=entry.entry_point)


def make_for_rllib(name: str, config: Mapping[str, Any]) -> Any:
    """A multi-agent environment of the table, as RLlib asks for one."""
    return ENVIRONMENTS[name].load()(config)


def _register_rllib(registry: ModuleType) -> None:
    for entry in ENVIRONMENTS.values():
        if entry.kind == "multi":
            registry.register_env(entry.id, partial(make_for_rllib, entry.id))


when_imported("gymnasium", lambda _: register_gymnasium())
when_imported("ray.tune.registry", _register_rllib)
