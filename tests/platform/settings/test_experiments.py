"""The table of experiments: every name in it leads somewhere, and choices are what is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pytest

from parley.platform.errors import InputError
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.experiments import (
    EXPERIMENTS,
    LANGUAGE,
    MODEL,
    Kind,
    choices_of,
    find_experiment,
    load_named,
    settings_class,
)
from parley.platform.settings.keys import field_types, short_keys
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.packaged import packaged_tables

CHOSEN = ("policy", "algorithm")


NAMED = ("settings", "run", "evaluate", "watch", "curves", "report", "chat", "sweep", "gradient")


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_every_name_of_a_row_leads_somewhere(kind: Kind) -> None:
    row = EXPERIMENTS[kind]
    names = [name for name in (getattr(row, field) for field in NAMED) if name is not None]
    assert all(load_named(name) is not None for name in names)


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_the_settings_of_a_row_accept_its_names(kind: Kind) -> None:
    workflow, algorithm = kind
    fields = settings_class(*kind).model_fields
    assert get_args(fields["workflow"].annotation) == (workflow,)
    assert algorithm in get_args(fields["algorithm"].annotation)


def test_what_is_not_in_the_table_is_refused_with_what_is() -> None:
    with pytest.raises(InputError, match=r"unknown workflow 'chess'.*cartpole, dialogue, trace"):
        find_experiment("chess", "ppo")
    with pytest.raises(InputError, match=r"unknown algorithm 'dpo' of trace.*next_token, ppo"):
        find_experiment("trace", "dpo")


@pytest.mark.parametrize(("name", "table"), packaged_tables().items())
def test_choices_are_what_an_experiment_accepts(name: str, table: Mapping[str, object]) -> None:
    config = load_experiment(name)
    kind, settings = type(config), config.model_dump(exclude_none=True)
    fields = {key: get_args(kind.model_fields[key].annotation) for key in CHOSEN & settings.keys()}
    accepted = {
        key: tuple(value for value in values if accepts(name, f"{key}={value}"))
        for key, values in fields.items()
    }
    expected = {key: values for key, values in accepted.items() if len(values) > 1}
    short = {key: section for section, key in short_keys(kind, settings).items()}
    for key in field_types(kind, settings):
        if key.rpartition(".")[2] == "model":
            expected[short.get(key, key)] = MODEL
    if "language" in kind.model_fields:
        expected["language"] = LANGUAGE
    assert choices_of(str(table["workflow"]), str(table["algorithm"])) == expected


def accepts(experiment: str, override: str) -> bool:
    try:
        load_experiment(experiment, [override])
    except ConfigError:
        return False
    return True
