"""What holds for all tests: no network, no window, one thread for the mathematics."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    """Files that git tracks and that exist, relative to the root; links as themselves."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    call = ["git", "ls-files", "-z"]
    listed = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [Path(name) for name in listed.split("\0") if name]
    return [path for path in paths if (ROOT / path).exists()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need Ray first: they take longest, and parallel workers are to end together."""
    needing = {item.path for item in items if "local_ray" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in needing)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the shared Ray for what asks for it, also after a test that has closed it."""
    if "local_ray" in getattr(item, "fixturenames", ()):
        from tests.shared_ray import share_ray

        share_ray()


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of four CPUs that tests share, open whenever a test that asks for it begins."""
    yield
    from tests.shared_ray import close_ray

    close_ray()


@pytest.fixture
def no_ray() -> None:
    """No Ray in this process, and none of its processes below it, when the test begins."""
    from tests.shared_ray import close_ray

    close_ray()


@pytest.fixture(scope="session")
def quick_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with its tokenizer: the embedded model's way of building at a tenth of it.

    One for all test processes: the first that asks builds it, behind the cache's own lock.
    """
    from parley.platform.language.embedded import EmbeddedRecipe, embedded_model
    from parley.platform.language.settings import LanguageModelConfig, LanguageTrainingConfig

    recipe = EmbeddedRecipe(
        num_dialogues=2_000,
        num_heldout=50,
        num_tokenizer_dialogues=1_000,
        model=LanguageModelConfig(vocab_size=600, context=192, embed_size=64, layers=2, heads=4),
        training=LanguageTrainingConfig(num_steps=150, batch_tokens=1_024, warmup_steps=10),
        num_threads=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARLEY_CACHE_DIR", str(folder_of_all_workers(tmp_path_factory) / "cache"))
        return embedded_model(recipe)


def folder_of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This test session's folder for temporary files, the same in every process of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
