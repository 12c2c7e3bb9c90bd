"""Answers are judged in a thread of their own, while other systems still answer.

Judges spend their time in large matrices and leave Python alone meanwhile; answering is the
reverse. What is found does not depend on who waits for whom: each system is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from parley.platform.cooperate.evaluation.metrics import Verdicts
from parley.platform.cooperate.evaluation.questions import Questions
from parley.platform.cooperate.evaluation.table import find_violations
from parley.platform.maxims.interface import Detector
from parley.platform.terminal.activities import each


class Judging:
    """The verdicts of systems, one after the other, in the order in which they began.

    Args:
        thread: where they are found.
        judge: the independent one.
        detector: the pipeline's.
        questions: what all systems answer.
    """

    def __init__(
        self, thread: ThreadPoolExecutor, judge: Detector, detector: Detector, questions: Questions
    ) -> None:
        self._thread = thread
        self._judge, self._detector, self._questions = judge, detector, questions
        self._begun: dict[str, Future[Verdicts]] = {}

    def begin(self, name: str, texts: list[str]) -> None:
        """Have a system's responses judged."""
        self._begun[name] = self._thread.submit(self._judge_one, texts)

    def finish(self) -> dict[str, Verdicts]:
        """The verdicts of all systems; raises what judging raised."""
        waiting = each(list(self._begun.items()), "judging", "systems")
        return {name: verdicts.result() for name, verdicts in waiting}

    def _judge_one(self, texts: list[str]) -> Verdicts:
        rows = self._questions.exchanges(texts)
        return Verdicts(find_violations(self._judge, rows), find_violations(self._detector, rows))


@contextmanager
def judging_aside(judge: Detector, detector: Detector, questions: Questions) -> Iterator[Judging]:
    """Judging in a thread that ends with the block; what has not begun then is given up."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
    try:
        yield Judging(thread, judge, detector, questions)
    finally:
        thread.shutdown(cancel_futures=True)
