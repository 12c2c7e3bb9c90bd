"""The settings of trace experiments: languages with options of their own, sizes that must fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.envs.trace.languages import LANGUAGES, option_defaults
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import (
    load_experiment,
    replace_overrides,
    to_override,
    to_toml,
)
from parley.platform.trace.settings import TraceConfig


def load(*overrides: str) -> TraceConfig:
    config = load_experiment("trace/addition", overrides)
    assert isinstance(config, TraceConfig)
    return config


def test_options_of_a_language_are_overrides_like_any_other(tmp_path: Path) -> None:
    config = load("language.options.order=msd", "language.options.base=7")
    assert config.language.options == {"order": "msd", "base": 7}
    language = config.language.build()
    assert language.vocab_size < load().language.build().vocab_size
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_experiment(path) == config
    assert replace_overrides(config, ["language.options.base=3"]).seed == config.seed


def test_a_language_is_chosen_by_its_name() -> None:
    config = load("language=parity", "min_size=8", "max_size=8")
    assert config.language.build().name == "parity"
    assert config == load("language=parity", "language.options={}", "min_size=8", "max_size=8")


FILE = """workflow = "trace"
algorithm = "next_token"
[language]
name = "{name}"
min_size = 2
max_size = 3
[language.options]
"""


@pytest.mark.parametrize("other", LANGUAGES)
@pytest.mark.parametrize("name", LANGUAGES)
def test_another_language_leaves_the_former_ones_options(
    name: str, other: str, tmp_path: Path
) -> None:
    """What both know stays as the file says; the rest is as the other language has it."""
    former, defaults = option_defaults(name), option_defaults(other)
    file = tmp_path / "own.toml"
    lines = [to_override(option, value) for option, value in former.items()]
    file.write_text(FILE.format(name=name) + "\n".join(lines))
    config = load_experiment(file, [f"language={other}"])
    assert isinstance(config, TraceConfig)
    assert config.language.options == {key: former[key] for key in former if key in defaults}
    assert config.language.build().name == other
    for option in former.keys() - defaults.keys():
        by_hand = to_override(f"language.options.{option}", former[option])
        with pytest.raises(ConfigError, match=f"{other} has no option '{option}'"):
            load_experiment(file, [by_hand, f"language={other}"])


def test_a_misspelt_option_of_a_file_is_never_dropped(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(FILE.format(name="shell_game") + "cubs = 3\n")
    for overrides in ([], ["language=parity"]):
        with pytest.raises(ConfigError, match="no option 'cubs'"):
            load_experiment(file, overrides)


def test_a_file_without_a_language_has_the_default_one(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(FILE.replace('name = "{name}"\n', "") + "base = 7\n")
    kept, left = load_experiment(file), load_experiment(file, ["language=counter"])
    assert isinstance(kept, TraceConfig) and isinstance(left, TraceConfig)
    assert (kept.language.options, left.language.options) == ({"base": 7}, {})


REFUSED = {
    "language=adition": ["there is no language 'adition'", "addition", "sorting"],
    "language.options.ordre=msd": ["no option 'ordre'", "order"],
    "language.options.base=ten": ["option 'base'", "int"],
    "language.options.base=1": ["base"],
    "language.min_size=9": ["language.min_size 9 is larger than language.max_size"],
    "algorithm=dpo": ["'next_token' or 'ppo'"],
    "evaluation.sizes=[0]": ["at least 1"],
    "stop_exact_match=2": ["training.stop_exact_match", "at most 1"],
}


@pytest.mark.parametrize("override", REFUSED)
def test_wrong_settings_are_refused(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(override)
    assert all(part in str(refused.value) for part in REFUSED[override])


@pytest.mark.parametrize("key", ["language.max_size", "evaluation.sizes"])
def test_sizes_beyond_the_learned_positions_are_refused(key: str) -> None:
    value = "[100]" if key.endswith("sizes") else "100"
    with pytest.raises(ConfigError) as refused:
        load("model.positions=learned", "model.max_len=64", "evaluation.sizes=[]", f"{key}={value}")
    message = str(refused.value)
    assert f"{key} 100 of addition needs" in message
    assert "raise model.max_len to at least" in message


def test_rotary_positions_have_no_longest_size() -> None:
    assert load("model.positions=rotary", "evaluation.sizes=[200]").evaluation_sizes == (200,)


def test_the_trained_sizes_are_evaluated_where_none_are_named() -> None:
    config = load("evaluation.sizes=[]", "min_size=2", "max_size=4")
    assert config.evaluation_sizes == (2, 3, 4)
