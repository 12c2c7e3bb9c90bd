"""The tables of `parley list` say what the settings' classes accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pytest

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.keys import field_types, short_keys
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.packaged import packaged_tables
from parley.platform.settings.schema import EXPERIMENT_KINDS
from parley.platform.settings.tables import CHOICES, LANGUAGE, MODEL

CHOSEN = ("policy", "algorithm")


def test_every_kind_of_experiment_has_its_choices() -> None:
    assert CHOICES.keys() == EXPERIMENT_KINDS.keys()


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
    assert CHOICES[str(table["workflow"]), str(table["algorithm"])] == expected


def accepts(experiment: str, override: str) -> bool:
    try:
        load_experiment(experiment, [override])
    except ConfigError:
        return False
    return True
