"""The reference of settings says what the settings classes say."""

from __future__ import annotations

import pytest

from parley.platform.settings.experiments import settings_classes
from tests.platform.settings.pages import FOLDER, MARKS, PAGES, SHARED, render_pages


def test_every_experiment_has_a_page() -> None:
    assert {kind for kinds in PAGES.values() for kind in kinds} == set(settings_classes())


@pytest.mark.parametrize("page", [SHARED, *PAGES])
def test_a_page_tells_what_the_classes_say(page: str) -> None:
    _, _, rest = (FOLDER / page).read_text(encoding="utf-8").partition(MARKS[0])
    told, _, _ = rest.partition(MARKS[1])
    assert told.strip() == render_pages()[page].strip(), (
        "python -m tests.platform.settings.pages writes the tables anew"
    )


def test_tables_state_bounds_choices_defaults_and_meaning() -> None:
    pages = render_pages()
    for page, row in {
        "settings_control.md": "| `ppo.clip` | number > 0, < 1 | 0.2 | Clip range of the",
        "settings_distort.md": '| `seats.NAME.model` | text | `"auto"` | Hugging Face name or',
        "settings_dpo.md": '| `dpo.precision` | `auto`, `fp32`, `bf16`, `fp16` | `"auto"` |',
        SHARED: "| `ray.dashboard_port` | whole number ≥ 1, ≤ 65535 | 8265 | Its port |",
    }.items():
        assert row in pages[page]
    assert not any(line.endswith("|  |") for text in pages.values() for line in text.splitlines())
