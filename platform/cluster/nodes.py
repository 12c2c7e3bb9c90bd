"""The machines of the connected cluster."""

from __future__ import annotations

from typing import TypedDict

import ray


class Node(TypedDict):
    """What parley reads of a machine as `ray.nodes` describes it."""

    NodeID: str
    NodeManagerAddress: str
    Alive: bool
    Resources: dict[str, float]


def live_nodes() -> list[Node]:
    """The machines that are there."""
    return [node for node in ray.nodes() if node["Alive"]]
