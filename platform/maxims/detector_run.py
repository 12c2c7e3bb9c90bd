"""The detector's job: cross-fit it, measure it on rows that each model has not seen, save it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from parley.platform.engine.torch.threads import limit_threads
from parley.platform.maxims.detector.building import BuiltDetector, build_detector
from parley.platform.maxims.detector_figures import TABLES, measure_detector
from parley.platform.maxims.detector_settings import DialogueDetectorConfig
from parley.platform.records import Metrics, Result
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.result import conclude_run
from parley.platform.runs.run_folder import RunFolder
from parley.platform.terminal.progress import shown

DETECTOR = "detector"
"""The policy in a checkpoint."""


def run_detector(config: DialogueDetectorConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Train a detector and measure it; a resumed run begins again, it takes minutes.

    Raises:
        InputError: the data cannot be used.
        KeyboardInterrupt: it was stopped; nothing is saved before the end.
    """
    started = time.perf_counter()
    if resume:
        run_folder.drop_metrics_after(0)
    with shown("training a detector") as training, limit_threads(config.num_threads):
        built = build_detector(config, training.report)
        for problem in built.corpus.problems[:10]:
            training.say(f"left out: {problem.path}, {problem.place}: {problem.reason}")
        for remark in built.corpus.remarks:
            training.say(remark)
        metrics = measure_detector(built)
    built.detector.facts["measured"] = _headline(metrics)
    run_folder.append_metrics({"iteration": 1, **_headline(metrics)})
    store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
    facts = {**kind_facts(config), "policy": DETECTOR, "modules": [DETECTOR]}
    checkpoint = store.save(1, _saver(built), facts, {"iteration": 1}, metrics["macro_f1"])
    figures = {name: value for name, value in metrics.items() if name not in TABLES}
    tables = {name: metrics[name] for name in TABLES if name in metrics}
    seconds = time.perf_counter() - started
    return conclude_run(run_folder, "done", seconds, figures, checkpoint, tables=tables)


def _saver(built: BuiltDetector) -> Any:
    def save(folder: Path) -> None:
        built.detector.save(folder / DETECTOR)

    return save


def _headline(metrics: Metrics) -> Metrics:
    """The single figures, without tables and intervals."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}
