"""What a workflow adds to the report of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parley.platform.runs.run_folder import RunFolder

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Sections:
    """The parts of one page, as HTML where nothing else is said."""

    figures: Mapping[str, Any]
    """The final figures that get a tile; empty before there are any."""
    all_figures: Mapping[str, Any] | None = None
    """Where the intervals and starts of the tiles are looked up; None: among `figures`."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """For the header: who learns, from what."""
    obstacle: str = ""
    """Why the figures mean nothing; stands before them."""
    after_figures: Iterable[str] = ()
    before_curves: Iterable[str] = ()
    after_curves: Iterable[str] = ()


def plain_sections(run: RunFolder, rows: Rows, result: Mapping[str, Any]) -> Sections:
    """Figures and policy alone."""
    return Sections(final_figures(result), facts=policy_facts(run))


def final_figures(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures of a `result.json`; empty where there are none."""
    metrics = result.get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}


def short_model(name: str) -> str:
    """A model's name; of a folder the last part."""
    return Path(name).name if Path(name).is_absolute() else name


def policy_facts(run: RunFolder) -> dict[str, str]:
    """The policy that a run's settings name, if they name one."""
    policy = getattr(run.config, "policy", "")
    return {"policy": str(policy)} if policy else {}
