"""Who takes part in `benchmarks/cartpole.py`; a new contestant is a function and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """One implementation with one set of settings."""

    title: str
    """As the table names it."""
    function: str
    """`module:name` of what trains it: called with `argument`, a seed and a `ScoreSheet`."""
    argument: str
    """Policy or set of settings."""
    is_peer: bool
    """Whether it is something other than parley, to be measured against."""
    environment: Mapping[str, str]
    """Variables of its process, where the caller's environment has none of that name."""


AS_COMMAND_LINE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What `parley train` sets too."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""The peers' networks are too small to gain from more torch threads; on a machine that does
something else besides, threads that wait for each other cost them a factor of up to 35."""

CONTESTANTS = {
    name: Contestant(title, function, argument, is_peer, ONE_THREAD if is_peer else AS_COMMAND_LINE)
    for name, title, function, argument, is_peer in (
        ("dhmm_gpt2", "parley dhmm_gpt2", "parley_ppo:train_parley", "dhmm_gpt2", False),
        ("gpt2", "parley gpt2", "parley_ppo:train_parley", "gpt2", False),
        ("mlp", "parley mlp", "parley_ppo:train_parley", "mlp", False),
        ("rllib", "RLlib, defaults", "rllib_ppo:train_rllib", "defaults", True),
        ("rllib-tuned", "RLlib, tuned", "rllib_ppo:train_rllib", "tuned", True),
        ("sb3", "SB3, zoo", "sb3_ppo:train_sb3", "zoo", True),
    )
}
