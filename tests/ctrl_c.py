"""Ctrl-C while a run of this process is at work."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable


def interrupt_when(condition: Callable[[], bool]) -> None:
    """Press Ctrl-C in this process as soon as the condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()
