"""The time series of this process, through `ray.util.metrics`.

Ray's agent on each machine shows them to Prometheus some ten seconds later, and for as long as the
process lives. They may be made before Ray is there, and outlive it; without Ray nobody sees them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from ray.util.metrics import Counter, Gauge

from parley.platform.monitoring.measures import PREFIX, RESTARTS, TAGS, Measure

Tags = Mapping[str, str]
KIND_TAG = "kind"
"""Of restarts: what was restarted."""


def show(measure: Measure, value: float, tags: Tags) -> None:
    """Set a gauge; one that is no finite number vanishes until it is one again."""
    _gauge(measure).set(value if math.isfinite(value) else math.nan, dict(tags))


def count(measure: Measure, amount: float, tags: Tags) -> None:
    """Add to a counter; nothing is added for 0."""
    if amount > 0:
        _counter(measure).inc(amount, dict(tags))


@cache
def _gauge(measure: Measure) -> Gauge:
    return Gauge(PREFIX + measure.name, measure.description, TAGS)


@cache
def _counter(measure: Measure) -> Counter:
    tags = (*TAGS, KIND_TAG) if measure == RESTARTS else TAGS
    return Counter(PREFIX + measure.name, measure.description, tags)
