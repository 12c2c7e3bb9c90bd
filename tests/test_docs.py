"""What the documentation points at is there: pages, headings, modules, files, settings."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"`(parley(?:\.\w+)+)(?:\(\))?`")
PLACE = re.compile(r"`((?:platform|envs|policies|tests|tune_configs|benchmarks)/[\w/.-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(without_code(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = page if not path else (page.parent / path)
        assert place.exists(), target
        if anchor:
            assert anchor in anchors_of(place), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in MODULE.findall(text):
        assert is_named(name), name
    for place in PLACE.findall(text):
        is_there = any(
            path == place or path.startswith(place.rstrip("/") + "/") for path in tracked_files()
        )
        assert is_there or "*" in place, place


def test_no_two_decisions_have_one_number() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")]
    assert sorted(set(numbers)) == sorted(numbers)


def test_examples_of_extensions_are_those_that_are_tested() -> None:
    page = (ROOT / "docs" / "tasks" / "extending.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    folder = ROOT / "tests" / "extending"
    tested = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    assert examples
    for example in examples:
        assert dedented(example) in dedented(tested), example


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def dedented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


@cache
def tracked_files() -> list[str]:
    return subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as the anchors that a forge makes of them."""
    heads = re.findall(r"^#+ (.+)$", without_code(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


def is_named(name: str) -> bool:
    """Whether a module has this name, or one has it as an attribute."""
    if name == "parley":
        return True
    parent, _, leaf = name.rpartition(".")
    try:
        if importlib.util.find_spec(name) is not None:
            return True
    except ModuleNotFoundError:  # its parent is no package
        pass
    try:
        return hasattr(importlib.import_module(parent), leaf)
    except ModuleNotFoundError:
        return False
