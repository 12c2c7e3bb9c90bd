"""Names for the tables that cross folders: what is measured, told, kept and learned from.

Their keys are data (a metric's name, a seat, a module), so no class could list them. Values are
what JSON holds, unless said otherwise.
"""

from __future__ import annotations

from typing import Any

Metrics = dict[str, Any]
"""Measured values by name, as `metrics` of result.json: numbers, intervals, tables of numbers.

`{"mean_return": 487.2, "mean_return_ci95": [480.1, 493.6], "f1_by_maxim": {"manner": 0.93}}`
"""
Result = dict[str, Any]
"""What result.json holds: `{"status": "done", "seconds": 31.0, "metrics": ..., "checkpoint": ...}`
with a path inside the run, and what the workflow tells besides."""
Row = dict[str, Any]
"""One line of metrics.jsonl: `{"iteration": 12, "seconds": 31.0, "reward": 2.1}`."""
Facts = dict[str, Any]
"""What policy.json, a manifest or a result tells besides figures: who, what, from where.

`{"workflow": "cartpole", "algorithm": "ppo", "iteration": 12}`
"""
State = dict[str, Any]
"""What an object needs to go on where it was: plain values, arrays, and tables of both.

`{"iteration": 12, "weights": {"head.weight": array}}`
"""
Batch = dict[str, Any]
"""Columns of a batch by name, each a tensor or array [N, ...]: `{"actions": tensor, ...}`."""
Spaces = dict[str, Any]
"""RLlib's spaces by module, as pairs of observation and action: `{"cart": (space, space)}`."""
Settings = dict[str, Any]
"""Keyword arguments, or values by the names of settings: `{"num_learners": 2}`."""
ParameterGroup = dict[str, Any]
"""A group of torch's optimisers: `{"params": [...], "lr_scale": 5.0, "weight_decay": 0.0}`."""
TuneResult = dict[str, Any]
"""What Tune hands to its callbacks for a trial: what it reported, and Tune's own entries."""
