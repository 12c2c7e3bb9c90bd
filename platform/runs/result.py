"""How a run ends: the one place that makes the content of its `result.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parley.platform.records import Metrics, Result
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.run_folder import RunFolder


def conclude_run(
    run_folder: RunFolder,
    status: str,
    seconds: float,
    metrics: Mapping[str, Any],
    checkpoint: Checkpoint | None,
    **more: object,
) -> Result:
    """Write the result of a run, and give it.

    Args:
        run_folder: whose.
        status: one of `run_folder.STATUSES`.
        seconds: that the run took.
        metrics: the final figures.
        checkpoint: the one that counts, inside of the run; None: there is none.
        more: what a workflow says besides.
    """
    place = None if checkpoint is None else str(checkpoint.path.relative_to(run_folder.path))
    result: Result = {
        "status": status,
        "seconds": seconds,
        "metrics": dict(metrics),
        "checkpoint": place,
        **more,
    }
    run_folder.write_result(result)
    return result


def newest_figures(run_folder: RunFolder) -> Metrics:
    """The last row of metrics, which stands for the figures of a run that broke off."""
    rows = run_folder.read_metrics()
    return dict(rows[-1]) if rows else {}
