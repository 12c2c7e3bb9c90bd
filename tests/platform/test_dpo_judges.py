"""A run keeps its judges: their make is noted, and others are refused when it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from parley.platform.config.dpo import JudgesConfig
from parley.platform.config.errors import ConfigError
from parley.platform.errors import InputError
from parley.platform.jobs.dpo_judges import JUDGES_FILE, keep_judges
from parley.platform.judges import embedded_judge, identity
from parley.platform.judges.identity import identify_detector


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def judges(tmp_path: Path, classifier_folder: Path) -> JudgesConfig:
    """A judge in a folder of its own, and the embedded detector."""
    shutil.copytree(classifier_folder, tmp_path / "judge")
    return JudgesConfig(judge=str(tmp_path / "judge"), detector="embedded")


def test_the_same_judges_are_noted_once(judges: JudgesConfig, tmp_path: Path) -> None:
    keep_judges(judges, tmp_path)
    noted = (tmp_path / JUDGES_FILE).read_bytes()
    assert set(json.loads(noted)) == {"judge", "detector"}
    keep_judges(judges, tmp_path)
    assert (tmp_path / JUDGES_FILE).read_bytes() == noted
    assert not (tmp_path / "cache").exists()


def test_a_judge_that_was_trained_anew_is_refused(judges: JudgesConfig, tmp_path: Path) -> None:
    keep_judges(judges, tmp_path)
    began = json.loads((tmp_path / JUDGES_FILE).read_text())["judge"]
    weights = Path(judges.judge) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    present = identify_detector(judges.judge, "judge")
    with pytest.raises(ConfigError, match=f"judges.judge.* is {present} now, .* with {began}"):
        keep_judges(judges, tmp_path)
    assert json.loads((tmp_path / JUDGES_FILE).read_text())["judge"] == began


def test_an_embedded_detector_of_other_data_is_refused(
    judges: JudgesConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_judges(judges, tmp_path)
    rows = tmp_path / "data" / "gricebench"
    rows.mkdir(parents=True)
    (rows / "detector_labelled.json").write_text("[]")
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path / "data"))
    with pytest.raises(ConfigError, match=r"judges\.detector = embedded .*PARLEY_DATA"):
        keep_judges(judges, tmp_path)


def test_the_embedded_judge_is_named_by_its_encoder_and_conversations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = set()
    for has_minilm in (True, False):
        monkeypatch.setattr(embedded_judge, "has_minilm", lambda has=has_minilm: has)
        names.add(identify_detector("embedded", "judge"))
    assert len(names) == 2
    assert all(str(name).startswith("judge-") for name in names)


def test_a_model_of_the_hub_is_named_by_its_commit_once_it_is_here(
    judges: JudgesConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = judges.model_copy(update={"detector": "some/classifier"})
    cached: list[str | None] = [None, "abc", "abc", "def"]

    def find(name: str, file: str) -> str | None:
        commit = cached.pop(0)
        return None if commit is None else f"/hub/snapshots/{commit}/{file}"

    monkeypatch.setattr(identity, "try_to_load_from_cache", find)
    for noted in (None, "abc", "abc"):
        keep_judges(hub, tmp_path)
        assert json.loads((tmp_path / JUDGES_FILE).read_text())["detector"] == noted
    with pytest.raises(ConfigError, match="is def now, but the run began with abc"):
        keep_judges(hub, tmp_path)


def test_what_is_absent_or_damaged_is_named(judges: JudgesConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no detector folder \./nowhere"):
        keep_judges(judges.model_copy(update={"detector": "./nowhere"}), tmp_path)
    (tmp_path / JUDGES_FILE).write_text('{"judge"')
    with pytest.raises(InputError, match=rf"{JUDGES_FILE} is damaged"):
        keep_judges(judges, tmp_path)
