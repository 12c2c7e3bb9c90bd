"""Whether all nodes of a cluster see a run folder, which the trials of a sweep write into."""

from __future__ import annotations

from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from parley.platform.cluster.nodes import live_nodes
from parley.platform.runs.run_folder import CONFIG_FILE
from parley.platform.settings.errors import ConfigError

PROBE_TIMEOUT_S = 120.0
"""For the answers of all nodes; a node that does not answer is not judged."""


def check_shared(run_folder: Path) -> None:
    """Ask every node of the connected cluster for the run folder, where there are several.

    Raises:
        ConfigError: a node does not see it: a trial there would write where nobody looks.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in live_nodes()}
    if len(nodes) < 2:
        return
    probe = ray.remote(num_cpus=0, max_retries=0)(_sees)
    path = run_folder.resolve()
    asked = {
        probe.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(path): address
        for node_id, address in nodes.items()
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_TIMEOUT_S)
    blind = sorted({asked[answer] for answer in answered if not ray.get(answer)})
    if blind:
        raise ConfigError(
            f"the run folder {path} is not seen by node {', '.join(blind)}, but trials on all "
            f"nodes write into it; name a --run-dir on storage that they share"
        )


def _sees(run_folder: Path) -> bool:
    return (run_folder / CONFIG_FILE).is_file()
