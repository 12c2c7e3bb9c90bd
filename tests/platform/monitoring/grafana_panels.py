"""What stands in the Grafana dashboard that parley ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "parley.json"
VARIABLES = {"$run": ".*", "$policy": ".*", "$worker": ".*", "$__rate_interval": "1m"}


def load_dashboard() -> dict[str, Any]:
    """The whole of it."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return dashboard


def panels() -> Iterator[dict[str, Any]]:
    """The panels that show something, without the rows' titles."""
    return (panel for panel in load_dashboard()["panels"] if panel["type"] != "row")


def expressions() -> dict[str, str]:
    """Title of a panel -> its PromQL, with all variables set to everything."""
    found = {}
    for panel in panels():
        (target,) = panel["targets"]
        text = target["expr"]
        for name, value in VARIABLES.items():
            text = text.replace(name, value)
        found[panel["title"]] = text
    return found
