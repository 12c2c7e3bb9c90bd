"""An anchor that would pull towards noise is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.distort.anchoring import check_anchor
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.runs.pinned_inputs import RunInput
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment


def settings(*overrides: str) -> DialogueDistortConfig:
    config = load_experiment("dialogue/distort", overrides)
    assert isinstance(config, DialogueDistortConfig)
    return config


def pinned(distorter: str, competitor: str) -> dict[str, RunInput]:
    identities = {"distorter": distorter, "competitor": competitor}
    return {f"seats.{k}.model": RunInput(k, k, identity) for k, identity in identities.items()}


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_a_weak_anchor_at_the_judges_own_model_is_refused(weight: float) -> None:
    for inputs in ({}, pinned("a", "a")):
        with pytest.raises(ConfigError, match=r"anchor\.kl .*set anchor\.kl above 1"):
            check_anchor(settings(f"anchor.kl={weight}"), inputs)


def test_other_anchors_are_accepted() -> None:
    for weight in (0.0, 1.1, 2.2):
        check_anchor(settings(f"anchor.kl={weight}"), pinned("a", "a"))
    check_anchor(settings("anchor.kl=0.5"), pinned("a", "b"))
    check_anchor(settings("anchor.kl=0.5", "competitor=one", "distorter=other"), {})


def test_the_command_says_so(
    quick_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [f"{seat}={quick_model_folder}" for seat in ("distorter", "competitor")]
    run = tmp_path / "run"
    arguments = ["train", "dialogue/distort", "--run-dir", str(run), *models, "anchor.kl=0.5"]
    assert main(arguments) == 2
    assert "anchor.kl 0.5: the judge 'competitor' is the model" in capsys.readouterr().err
    assert not run.exists()
