"""The wheel: it holds what git tracks, and works where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = {"envs", "platform", "policies", "tune_configs"}


@pytest.fixture(scope="module")
def wheel(tracked_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the tracked files alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in tracked_files:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path, follow_symlinks=False)
    call = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    run(call, source)
    (built,) = folder.glob("*.whl")
    return built


def run(call: Sequence[str | Path], folder: Path) -> str:
    """What a command that succeeds prints; it finds no checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        call, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def with_our_packages(wheel: Path, tmp_path: Path) -> Path:
    """The programs of an environment that has the wheel, and sees the packages of this one."""
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment], tmp_path)
    python = environment / "bin" / "python"
    call = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run([*call, "--no-index", "--no-deps", wheel], tmp_path)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    # A line in a file of this kind is searched for modules; an editable parley there is not.
    (packages / "ours.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python.parent


@pytest.fixture
def with_its_own_packages(wheel: Path, tmp_path: Path) -> Path:
    """The programs of an empty environment in which pip installed the wheel."""
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", environment], tmp_path)
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip"]
    call = [*pip, "download", "--quiet", "--no-deps", "--dest", tmp_path / "index", "tomli-w"]
    asked = subprocess.run(call, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip(f"pip has no index to install from: {asked.stderr.strip().splitlines()[-1]}")
    run([*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel], tmp_path)
    return environment / "bin"


def train_in(folder: Path, programs: Path) -> None:
    """List, train the first experiment of the README, measure it."""
    folder.mkdir()
    assert "cartpole/ppo" in run([programs / "parley", "list"], folder)
    run([programs / "parley", "train", "cartpole/ppo", "--quick", "--run-dir", "mine"], folder)
    assert json.loads((folder / "mine" / "result.json").read_text())["status"] == "done"
    run([programs / "parley", "evaluate", "mine", "--episodes", "2"], folder)


def test_it_holds_exactly_the_tracked_sources(wheel: Path, tracked_files: list[Path]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    sources = {f"parley/{path}" for path in tracked_files if path.parts[0] in LINKS}
    built = {name for name in names if ".dist-info/" not in name}
    assert built == sources | {"parley/__init__.py", "parley/py.typed"}


def test_it_works_without_a_checkout(with_our_packages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    place = run([with_our_packages / "python", "-c", "import parley; print(parley)"], folder)
    assert str(with_our_packages.parent) in place
    assert "cartpole/ppo" in run([with_our_packages / "parley", "list"], folder)
    load = (
        "from parley.platform.settings.loading import load_experiment\n"
        "from parley.platform.settings.packaged import list_experiments\n"
        "print(len([load_experiment(name, quick=True) for name in list_experiments()]))"
    )
    assert int(run([with_our_packages / "python", "-c", load], folder)) > 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_trains_without_a_checkout(with_our_packages: Path, tmp_path: Path) -> None:
    train_in(tmp_path / "empty", with_our_packages)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_brings_all_that_it_needs(with_its_own_packages: Path, tmp_path: Path) -> None:
    """Gigabytes, where torch comes with CUDA."""
    train_in(tmp_path / "empty", with_its_own_packages)
