"""What final figures are called, what they mean in plain words, and how many things they are of.

For the terminal, the report and whoever sets runs side by side. Only names are known here:
what is measured, and how, stands where it is measured. A figure without a row in `figure_table` is
shown under its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parley.platform.report.figure_table import FIGURES, Figure

INTERVAL_SUFFIX = "_ci95"
"""A figure's 95 % interval stands next to it under its name with this suffix."""
ALIASES = {"env_steps": "evaluation_env_steps"}
"""Older name -> the figure that stands next to it, and is shown in its place."""

VARIANTS = {
    "_beyond_training": "sizes beyond training",
    "_start": "before training",
    "_untuned": "the model before DPO",
    "_untuned_reranked": "the model before DPO, re-ranked",
    "_base": "the model before supervised tuning",
    "_human": "the chosen responses",
    "_rejected": "the rejected responses",
    "_beam": "beam search",
    "_sampled": "drawn responses",
    "_reranked": "re-ranked responses",
    "_repaired": "repaired responses",
}
"""Suffix of a figure's name -> of what else the same is."""

SETS = {
    "known_phrases_": "injections in phrases that training knows",
    "unseen_phrases_": "injections in phrases that training never saw",
}
"""Prefix of a detector's figure -> the rows that the same is of."""


def find_figure(name: str) -> Figure:
    """The figure of a name, variants included; of an unknown one the name in plain letters."""
    if name in FIGURES:
        return FIGURES[name]
    for suffix in sorted(VARIANTS, key=len, reverse=True):
        stem = name.removesuffix(suffix)
        if stem != name and stem in FIGURES:
            return _vary(FIGURES[stem], stem, suffix)
    for prefix, what in SETS.items():
        stem = name.removeprefix(prefix)
        if stem != name and stem in FIGURES:
            figure = FIGURES[stem]
            meaning = f"{stem} of {what}"
            return replace(figure, unit=what, meaning=meaning, count=f"{prefix}rows", things="rows")
    return Figure(name.replace("_", " ").capitalize())


def _vary(figure: Figure, stem: str, suffix: str) -> Figure:
    what = VARIANTS[suffix]
    count = figure.count
    if suffix == "_beyond_training":
        count = f"inputs{suffix}" if count else ""
    return replace(
        figure,
        title=f"{figure.title}, {what}",
        unit=figure.unit.replace(", trained sizes", ""),
        meaning=f"{stem} of {what}",
        count=count,
    )


def count_text(name: str, metrics: Mapping[str, Any]) -> str:
    """`105 held-out inputs`: what a figure is of; empty where that is not known."""
    figure = find_figure(name)
    number = metrics.get(figure.count)
    if isinstance(number, bool) or not isinstance(number, int):
        return ""
    return f"{number:,} {figure.things}"


def shown_names(metrics: Mapping[str, Any]) -> list[str]:
    """The figures of `metrics` without intervals and without older names of the same."""
    return [
        name
        for name in metrics
        if not name.endswith(INTERVAL_SUFFIX) and ALIASES.get(name) not in metrics
    ]
