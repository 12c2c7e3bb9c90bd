"""Imports without collections, without optional packages, and the exit of a command."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from parley.platform.terminal.interpreter import importing, without_optional


def test_collections_rest_while_libraries_are_imported() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(RuntimeError), importing():
        raise RuntimeError
    assert gc.isenabled()


def test_collections_that_were_off_stay_off() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_hidden_package_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without_optional("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(1.0, 1.0, 1.0) == (0.0, 0.0, 1.0)


def test_a_loaded_package_is_not_taken_away() -> None:
    import json

    with without_optional("json"):
        assert sys.modules["json"] is json
    assert sys.modules["json"] is json


def test_training_by_preferences_loads_no_tracker() -> None:
    """TRL would load wandb where it is installed; parley's own trackers still can."""
    code = (
        "import sys\n"
        "import parley.platform.cooperate.dpo.trainer\n"
        "assert 'wandb' not in sys.modules\n"
        "import importlib.util\n"
        "importlib.util.find_spec('wandb')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_what_is_registered_for_the_exit_still_runs() -> None:
    code = (
        "import atexit\n"
        "from parley.platform.terminal.interpreter import leave_quickly\n"
        "atexit.register(print, 'registered')\n"
        "leave_quickly()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "registered\n"
