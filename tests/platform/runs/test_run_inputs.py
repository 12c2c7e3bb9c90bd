"""A run keeps what it began with: models, data and judges are pinned by place and by content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest

from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.errors import InputError
from parley.platform.language import resolving
from parley.platform.language.resolving import locate_model
from parley.platform.maxims import identity
from parley.platform.maxims.identity import identify_detector
from parley.platform.maxims.judge import building as embedded_judge
from parley.platform.runs import run_inputs
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.pinned_inputs import INPUTS_FILE, read_inputs
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.run_inputs import (
    JUDGES_FILE,
    MissingInputError,
    find_inputs,
    keep_inputs,
    keep_made,
)
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.inputs import list_inputs
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.resuming import moved_inputs, resumed_settings, split_moved
from parley.platform.settings.sections import ExperimentConfig
from parley.policies.dialogue.loading import load_language_model

SEATS = ("seats.distorter.model", "seats.competitor.model")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data and no cache of the machine; every test begins in a folder of its own."""
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")


def copy_model(source: Path, target: Path, change: bool = False) -> Path:
    """A model's folder; changed, one bit of its weights is another."""
    shutil.copytree(source, target)
    if change:
        weights = target / "model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return target


def begin(run: Path, *overrides: str, experiment: str = "dialogue/distort") -> ExperimentConfig:
    """The settings of a new run as its job gets them."""
    with RunFolder.create(load_experiment(experiment, overrides), run) as folder:
        return keep_inputs(folder.config, folder, resume=False)


def go_on(run: Path, *overrides: str) -> ExperimentConfig:
    """The same of a run that goes on, as `parley train --resume` opens it."""
    stored = RunFolder.open(run).config
    settings = resumed_settings(stored, str(run / "config.toml"), overrides)
    kept, moved = split_moved(stored, settings)
    with RunFolder.resume(run, kept) as folder:
        folder.moved = moved
        return keep_inputs(folder.config, folder, resume=True)


def save(run: Path) -> Checkpoint:
    return CheckpointStore(run / "checkpoints").save(1, lambda folder: None, {}, {})


def names(config: ExperimentConfig) -> dict[str, str]:
    return {entry.key: entry.name for entry in list_inputs(config)}


def test_every_seat_is_pinned_by_an_absolute_place_and_by_its_files(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    model = copy_model(quick_model_folder, Path("mine"))
    config = begin(tmp_path / "run", "competitor=mine", "distorter=mine")
    assert names(config) == dict.fromkeys(SEATS, str(model.absolute()))
    noted = json.loads((tmp_path / "run" / INPUTS_FILE).read_text())
    assert set(noted) == set(SEATS)
    for entry in noted.values():
        assert (entry["name"], entry["place"]) == ("mine", str(model.absolute()))
        assert len(entry["identity"]) == 64
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(entry["files"])
    assert 'model = "mine"' in (tmp_path / "run" / "config.toml").read_text()


def test_every_checkpoint_says_it_too(quick_model_folder: Path, tmp_path: Path) -> None:
    begin(tmp_path / "run", f"competitor={quick_model_folder}", f"distorter={quick_model_folder}")
    facts = save(tmp_path / "run").read_policy_facts()
    assert facts["inputs"] == json.loads((tmp_path / "run" / INPUTS_FILE).read_text())


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_another_model_of_that_name_is_refused(
    file: str, quick_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_model(quick_model_folder, Path("mine"))
    run = tmp_path / "run"
    begin(run, "competitor=mine", f"distorter={quick_model_folder}")
    settings, noted = (run / "config.toml").read_bytes(), (run / INPUTS_FILE).read_bytes()
    changed = Path("mine") / file
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(ConfigError) as caught:
        go_on(run)
    message = str(caught.value)
    known = read_inputs(run)["seats.competitor.model"]
    for part in (
        f"seats.competitor.model: {Path('mine').absolute()} is not what the run began with",
        f"expected mine ({known.describe()}",
        f"where {file} differs",
        "seats.competitor.model=PLACE",
    ):
        assert part in message
    assert (run / "config.toml").read_bytes() == settings
    assert (run / INPUTS_FILE).read_bytes() == noted
    shutil.move("mine", "other")
    copy_model(quick_model_folder, Path("mine"))
    go_on(run)


def test_the_model_below_an_adapter_is_pinned_with_it(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    base, adapter = copy_model(quick_model_folder, tmp_path / "base"), tmp_path / "adapter"
    adapted: Any = peft.get_peft_model(
        load_language_model(base).model,
        peft.LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=True),
    )
    adapted.save_pretrained(adapter)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "base"}))
    begin(tmp_path / "run", f"distorter={adapter}", f"competitor={quick_model_folder}")
    noted = read_inputs(tmp_path / "run")["seats.distorter.model"]
    assert {"adapter_model.safetensors", "base/model.safetensors"} <= noted.files.keys()
    shutil.rmtree(base)
    copy_model(quick_model_folder, base, change=True)
    with pytest.raises(ConfigError, match=r"base/model\.safetensors"):
        go_on(tmp_path / "run")


def test_a_name_means_what_it_meant_wherever_one_stands(
    quick_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy_model(quick_model_folder, Path("mine")).absolute()
    begin(tmp_path / "run", "competitor=mine", "distorter=mine")
    checkpoint = save(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "there")
    copy_model(quick_model_folder, Path("mine"), change=True)
    assert set(names(go_on(tmp_path / "run")).values()) == {str(model)}
    config = RunFolder.open(tmp_path / "run").config
    assert names(find_inputs(config, checkpoint, SEATS)) == dict.fromkeys(SEATS, str(model))
    shutil.rmtree(model)
    with pytest.raises(ConfigError, match="there/mine is not what the run began with"):
        go_on(tmp_path / "run")
    with pytest.raises(ConfigError, match="there/mine is not what the run began with"):
        find_inputs(config, checkpoint, SEATS)


def test_a_folder_that_was_moved_is_named_or_found(
    quick_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_model(quick_model_folder, Path("mine"))
    run = tmp_path / "run"
    begin(run, "competitor=mine", f"distorter={quick_model_folder}")
    checkpoint, config = save(run), RunFolder.open(run).config
    shutil.move("mine", tmp_path / "moved")
    key, moved = "seats.competitor.model", str(tmp_path / "moved")
    with pytest.raises(MissingInputError, match=f"{key}: .*, now gone; .*{key}=PLACE"):
        go_on(run)
    named = moved_inputs(config, [f"competitor={moved}"])
    assert names(find_inputs(config, checkpoint, SEATS, named))[key] == moved
    assert names(go_on(run, f"competitor={moved}"))[key] == moved
    # From now on the run knows it itself, its older checkpoints too.
    assert names(go_on(run))[key] == moved
    assert names(find_inputs(config, checkpoint, SEATS))[key] == moved
    shutil.move(moved, tmp_path / "there" / "mine")
    monkeypatch.chdir(tmp_path / "there")
    assert names(go_on(run))[key] == str(tmp_path / "there" / "mine")


def test_a_place_with_another_model_is_refused(quick_model_folder: Path, tmp_path: Path) -> None:
    model = copy_model(quick_model_folder, Path("mine"))
    other = copy_model(quick_model_folder, Path("other"), change=True)
    begin(tmp_path / "run", f"competitor={model}", f"distorter={model}")
    shutil.rmtree(model)
    with pytest.raises(ConfigError, match="other is not what the run began with: expected mine"):
        go_on(tmp_path / "run", f"competitor={other}", f"distorter={other}")


def test_only_places_can_be_said_when_a_run_is_measured() -> None:
    config = load_experiment("dialogue/distort")
    with pytest.raises(ConfigError, match=r"sampling\.top_k: .*only where .* seats\.competitor"):
        moved_inputs(config, ["top_k=3"])
    with pytest.raises(ConfigError, match="a resumed run keeps its settings"):
        resumed_settings(config, "dialogue/distort", ["top_k=3"])


def test_auto_stays_what_it_was(
    quick_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = [quick_model_folder, copy_model(quick_model_folder, tmp_path / "new", change=True)]
    monkeypatch.setattr(resolving, "embedded_model", lambda recipe=None: means[0])
    begin(tmp_path / "run")
    assert read_inputs(tmp_path / "run")[SEATS[0]].name == "auto"
    means.reverse()
    assert set(names(go_on(tmp_path / "run")).values()) == {str(quick_model_folder)}
    # Where the old one is gone, the new one does not stand in for it.
    noted = (tmp_path / "run" / INPUTS_FILE).read_text()
    lost = noted.replace(str(quick_model_folder), "/nowhere")
    (tmp_path / "run" / INPUTS_FILE).write_text(lost)
    with pytest.raises(ConfigError, match="new is not what the run began with: expected auto"):
        go_on(tmp_path / "run")


def test_a_model_of_the_hub_is_pinned_by_what_the_cache_holds(
    quick_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = copy_model(quick_model_folder, tmp_path / "snapshots" / "abc")
    monkeypatch.setattr(
        resolving, "try_to_load_from_cache", lambda name, file: str(snapshot / file)
    )
    assert locate_model("some/model", print) == snapshot
    begin(tmp_path / "run", "competitor=some/model", "distorter=some/model")
    assert read_inputs(tmp_path / "run")[SEATS[0]].place == str(snapshot)
    snapshot = copy_model(quick_model_folder, tmp_path / "snapshots" / "def", change=True)
    assert set(names(go_on(tmp_path / "run")).values()) == {str(snapshot.with_name("abc"))}
    shutil.rmtree(snapshot.with_name("abc"))
    with pytest.raises(ConfigError, match="def is not what the run began with"):
        go_on(tmp_path / "run")


def test_other_openers_data_and_episodes_are_refused(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    openers, talks = Path("openers.txt"), Path("talks")
    openers.write_text("Hello\n")
    talks.mkdir()
    (talks / "a.txt").write_text("Hello\nYes\n")
    model = f"competitor={quick_model_folder}", f"distorter={quick_model_folder}"
    begin(tmp_path / "distort", *model, f"openers={openers}")
    begin(tmp_path / "pretrain", f"data={talks}", experiment="dialogue/pretrain")
    begin(tmp_path / "imitate", f"data.path={openers}", experiment="cartpole/imitate")
    begin(tmp_path / "detector", f"data.labelled={openers}", experiment="dialogue/detector")
    go_on(tmp_path / "pretrain")
    openers.write_text("Hello!\n")
    (talks / "b.txt").write_text("More\nNo\n")
    for run, part in (
        ("distort", r"dialogue\.openers: .*openers\.txt differs"),
        ("pretrain", r"data\.path: .*b\.txt differs"),
        ("imitate", r"data\.path: .*openers\.txt differs"),
        ("detector", r"data\.labelled\.0: .*openers\.txt differs"),
    ):
        with pytest.raises(ConfigError, match=part):
            go_on(tmp_path / run)


def test_a_warm_start_is_one_checkpoint_of_its_run(
    tmp_path: Path,
    make_config: Callable[..., CartPolePPOConfig],
    save_untrained: Callable[..., Checkpoint],
) -> None:
    first = save_untrained(Path("run", "checkpoints"), make_config())
    config = begin(tmp_path / "warm", "init_from=run", experiment="cartpole/ppo")
    assert names(config) == {"init_from": str(first.path.absolute())}
    save_untrained(Path("run", "checkpoints"), make_config("seed=5"), iteration=2)
    assert names(go_on(tmp_path / "warm")) == names(config)
    shutil.rmtree(first.path)
    with pytest.raises(ConfigError, match="iteration_000002 is not what the run began with"):
        go_on(tmp_path / "warm")
    save(tmp_path / "warm")  # a run that has a checkpoint of its own reads the other no more
    go_on(tmp_path / "warm")


def test_a_reference_that_was_exchanged_is_refused(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    folder = copy_model(quick_model_folder, tmp_path / "run" / "reference")
    keep_made("reference", folder, tmp_path / "run")
    keep_made("reference", folder, tmp_path / "run")
    shutil.rmtree(folder)
    copy_model(quick_model_folder, folder, change=True)
    with pytest.raises(ConfigError, match=r"not as the run left it: model\.safetensors changed"):
        keep_made("reference", folder, tmp_path / "run")


def test_an_older_run_goes_on_with_what_is_here(
    quick_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, model = tmp_path / "run", copy_model(quick_model_folder, Path("mine"))
    begin(run, f"competitor={model}", f"distorter={model}")
    (run / INPUTS_FILE).unlink()
    checkpoint = save(run)
    with pytest.raises(ConfigError, match=r"competitor\.model=elsewhere: .*does not say"):
        go_on(run, "competitor=elsewhere")
    find_inputs(RunFolder.open(run).config, checkpoint, SEATS)
    go_on(run)
    assert capsys.readouterr().err.count("does not say what it began with") == 3
    assert set(read_inputs(run)) == set(SEATS)


class TestJudges:
    """What DPO judges by."""

    @pytest.fixture
    def run(self, tmp_path: Path, classifier_folder: Path, quick_model_folder: Path) -> Path:
        """A run whose judge is a folder and whose detector is embedded."""
        shutil.copytree(classifier_folder, tmp_path / "judge")
        run = tmp_path / "run"
        judge = f"judges.judge={tmp_path / 'judge'}"
        begin(run, f"model={quick_model_folder}", judge, experiment="dialogue/dpo")
        return run

    def exchange(self, tmp_path: Path) -> None:
        weights = tmp_path / "judge" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    def test_they_are_noted_and_not_built(self, run: Path, tmp_path: Path) -> None:
        noted = read_inputs(run)
        assert {"judges.judge", "judges.detector", "model"} == set(noted)
        assert noted["judges.judge"].place == str(tmp_path / "judge")
        go_on(run)
        assert not (tmp_path / "cache").exists()

    def test_a_judge_that_was_trained_anew_is_refused(self, run: Path, tmp_path: Path) -> None:
        began = identify_detector(str(tmp_path / "judge"), "judge")
        self.exchange(tmp_path)
        present = identify_detector(str(tmp_path / "judge"), "judge")
        with pytest.raises(ConfigError, match=f"judges.judge.* is {present} now, .* with {began}"):
            go_on(run)

    def test_an_evaluation_may_name_another(self, run: Path, tmp_path: Path) -> None:
        checkpoint, config = save(run), RunFolder.open(run).config
        self.exchange(tmp_path)
        with pytest.raises(ConfigError, match=r"parley evaluate.*judges\.judge="):
            find_inputs(config, checkpoint, ["judges.judge"])
        named = moved_inputs(config, [f"judges.judge={tmp_path / 'judge'}"])
        find_inputs(config, checkpoint, ["judges.judge"], named)

    def test_an_embedded_detector_of_other_data_is_refused(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = tmp_path / "data" / "gricebench"
        rows.mkdir(parents=True)
        (rows / "detector_labelled.json").write_text("[]")
        monkeypatch.setenv("PARLEY_DATA", str(tmp_path / "data"))
        with pytest.raises(ConfigError, match=r"judges\.detector = embedded .*PARLEY_DATA"):
            go_on(run)

    def test_the_embedded_judge_is_named_by_its_encoder_and_conversations(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = set()
        for has_minilm in (True, False):
            monkeypatch.setattr(embedded_judge, "has_minilm", lambda has=has_minilm: has)
            found.add(identify_detector("embedded", "judge"))
        assert len(found) == 2
        assert all(str(name).startswith("judge-") for name in found)

    def test_one_of_the_hub_is_named_by_its_commit_once_it_is_here(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cached: list[str | None] = [None, "abc", "abc", "def"]

        def find(name: str, file: str) -> str | None:
            commit = cached.pop(0)
            return None if commit is None else f"/hub/snapshots/{commit}/{file}"

        monkeypatch.setattr(identity, "try_to_load_from_cache", find)
        rename(run, "judges.detector", "some/classifier")
        for noted in (None, "abc", "abc"):
            go_on(run)
            assert read_inputs(run)["judges.detector"].identity == noted
        with pytest.raises(ConfigError, match="is def now, but the run began with abc"):
            go_on(run)

    def test_older_runs_noted_them_alone(self, run: Path, tmp_path: Path) -> None:
        noted = read_inputs(run)
        (run / INPUTS_FILE).unlink()
        old = {role: noted[f"judges.{role}"].identity for role in ("judge", "detector")}
        (run / JUDGES_FILE).write_text(json.dumps(old))
        self.exchange(tmp_path)
        with pytest.raises(ConfigError, match="but the run began with"):
            go_on(run)
        (run / JUDGES_FILE).write_text('{"judge"')
        with pytest.raises(InputError, match=rf"{JUDGES_FILE} is damaged"):
            go_on(run)


def rename(run: Path, key: str, name: str) -> None:
    """Let a run have begun with another name, of which nothing is known."""
    table: dict[str, Any] = json.loads((run / INPUTS_FILE).read_text())
    table[key] |= {"name": name, "place": name, "identity": None}
    (run / INPUTS_FILE).write_text(json.dumps(table))
    config = run / "config.toml"
    config.write_text(config.read_text().replace('detector = "embedded"', f'detector = "{name}"'))


def test_a_damaged_note_is_named(quick_model_folder: Path, tmp_path: Path) -> None:
    begin(tmp_path / "run", f"competitor={quick_model_folder}", f"distorter={quick_model_folder}")
    (tmp_path / "run" / INPUTS_FILE).write_text('{"seats')
    with pytest.raises(InputError, match=rf"{INPUTS_FILE} is damaged .*delete it"):
        go_on(tmp_path / "run")


def test_every_kind_of_input_is_found() -> None:
    assert set(run_inputs._FINDERS) == {"model", "checkpoint", "data", "pairs", "detector", "judge"}


def test_experiments_without_a_seat_of_that_name_say_so(
    tmp_path: Path, save_untrained: Callable[..., Checkpoint], make_config: Any
) -> None:
    checkpoint = save_untrained(tmp_path / "checkpoints", make_config())
    assert main(["evaluate", str(checkpoint.path), "competitor=x"]) == 2
