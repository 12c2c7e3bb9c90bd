"""The table of figures: every row explained, counted by what exists, and on its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.report.figure_table import FIGURES, GROUPS
from parley.platform.report.figures import VARIANTS, count_text, find_figure, shown_names

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "figures.md"


def test_every_figure_has_a_title_a_meaning_and_a_count_that_is_a_figure() -> None:
    for name, figure in FIGURES.items():
        assert figure.title and figure.meaning and not figure.meaning.endswith("."), name
        assert bool(figure.count) == bool(figure.things), name
        assert figure.count in {*FIGURES, "", "human_rows", "turn_rows"}, name
    assert sum(map(len, GROUPS.values())) == len(FIGURES)


def test_the_page_of_figures_tells_what_the_table_tells() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    expected = [
        f"| `{name}` | {figure.meaning} | {f'`{figure.count}`' if figure.count else ''} |"
        for name, figure in FIGURES.items()
    ]
    assert [line for line in lines if line.startswith("| `")] == expected
    assert [line[3:] for line in lines if line.startswith("## ")] == list(GROUPS)
    assert all(f"`{suffix}`" in PAGE.read_text() for suffix in VARIANTS if suffix.count("_") == 1)


@pytest.mark.parametrize(
    ("name", "title", "count"),
    [
        ("exact_match_beyond_training", "Exact match, sizes beyond training", "7 held-out inputs"),
        (
            "cooperative_rate_untuned",
            "Cooperative rate, the model before DPO",
            "3 held-out prompts",
        ),
        ("unseen_phrases_macro_f1", "Macro-F1", "5 rows"),
        ("mean_return", "Mean return", ""),
        ("brand_new", "Brand new", ""),
    ],
)
def test_variants_have_names_and_counts_of_their_own(name: str, title: str, count: str) -> None:
    metrics = {
        "inputs_trained_sizes": 9,
        "inputs_beyond_training": 7,
        "prompts": 3,
        "unseen_phrases_rows": 5,
        "labelled_rows": 6,
        "episodes": True,
    }
    assert find_figure(name).title == title
    assert count_text(name, metrics) == count


def test_an_older_name_is_shown_only_where_it_stands_alone() -> None:
    assert shown_names({"env_steps": 1, "evaluation_env_steps": 1, "kl_ci95": [0, 1]}) == [
        "evaluation_env_steps"
    ]
    assert shown_names({"env_steps": 1}) == ["env_steps"]
