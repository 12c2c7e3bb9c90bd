"""Overrides and files reach settings, and nothing of the classes that hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.settings.experiments import settings_classes
from parley.platform.settings.loading import load_experiment, read_experiment_file, to_toml
from parley.platform.settings.sections import ExperimentConfig, Section

HIDDEN = [
    "__class__",
    "__class__.__name__",
    "__dict__",
    "__init__.__globals__",
    "__pydantic_extra__.x",
    "model_config",
    "model_config.frozen",
    "model_config.extra",
    "model_fields",
    "model_fields.seed",
    "model_fields_set",
    "model_extra",
    "model_validate",
    "env.__init__",
    "env.__class__.__mro__",
    "env.model_config.extra",
    "ppo.model_dump",
    "rollouts.batch_size",
    "ray.__class__",
    "seed.real",
    "seed.__class__",
    "experiment.__class__",
    "evaluation.0",
    "evaluation.[0]",
    "quick.seed",
    "stop.target_return.__class__",
]
"""Attributes, properties and methods of the settings, none of which is a setting."""


@pytest.mark.parametrize("key", HIDDEN)
def test_an_attribute_is_no_setting(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    before = to_toml(load_experiment("cartpole/ppo"))
    kinds: list[type[Section]] = [Section, *settings_classes().values()]
    rules = [dict(kind.model_config) for kind in kinds]
    assert main(["train", "cartpole/ppo", f"{key}=1", "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err
    assert f"unknown key {key}" in error or f"{key} is a section" in error
    assert not run.exists()
    assert to_toml(load_experiment("cartpole/ppo")) == before
    assert [dict(kind.model_config) for kind in kinds] == rules


@pytest.mark.parametrize("name", ["dialogue/distort", "dialogue/dpo", "trace/addition"])
def test_tables_by_name_open_no_way(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables whose keys are free are tables of plain values."""
    for key in (
        "seats.distorter.__class__",
        "seats.__class__.model",
        "seats.distorter.model_config.extra",
        "sweep.space.__class__",
        "sweep.space.dpo.beta.__class__",
        "language.options.size.__class__",
        "language.__class__",
    ):
        assert main(["train", name, f"{key}=1"]) == 2
        assert "unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "table",
    [
        '"__class__" = "x"',
        '[env]\n"__class__" = "x"',
        "[model_config]\nfrozen = false",
        "[env.model_config]\nextra = 'allow'",
        "[quick]\n\"__class__\" = 'x'",
        "[quick.model_config]\nfrozen = false",
    ],
)
def test_nor_does_a_file(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    head, _, tail = table.partition("\n") if table.startswith('"') else ("", "", table)
    file.write_text(f'workflow = "cartpole"\nalgorithm = "ppo"\n{head}\n{tail}\n')
    assert main(["train", str(file), "--quick", "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "unknown key" in error and "mine.toml" in error
    assert not (tmp_path / "run").exists()
    assert ExperimentConfig.model_config["extra"] == "forbid"


def test_values_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Python is not evaluated, variables are not filled in, a value opens no second key."""
    config = load_experiment(
        "cartpole/ppo", ["summary=__import__('os').getcwd()", "experiment=HOME"]
    )
    assert config.summary == "__import__('os').getcwd()" and config.experiment == "HOME"
    assert load_experiment("cartpole/ppo", ["summary=${HOME} $HOME"]).summary == "${HOME} $HOME"
    assert main(["train", "cartpole/ppo", "seed=1\nalgorithm='evil'"]) == 2
    assert "seed" in capsys.readouterr().err
    assert "evil" not in str(read_experiment_file("cartpole/ppo").table)
