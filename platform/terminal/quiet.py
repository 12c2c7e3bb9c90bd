"""Keep third parties' chatter off the terminal: progress and errors are parley's to tell."""

from __future__ import annotations

import logging
import os
import warnings

LEVEL_VARIABLE = "RAY_BACKEND_LOG_LEVEL"
"""Ray's native log follows it, and says so in a line at each start; see `native_lines`."""


def quiet_libraries() -> None:
    """Silence deprecation notes and advice; call it before Ray and transformers are imported."""
    # Ray would warn of RLlib's ways with actors at each start.
    os.environ.setdefault(LEVEL_VARIABLE, "fatal")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def quiet_rllib() -> None:
    """Show RLlib's errors only; after its import, which sets a level of its own."""
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    # Of lost actors it tells at length; the jobs tell of them in a line.
    logging.getLogger("ray.rllib.utils.actor_manager").setLevel(logging.CRITICAL)
