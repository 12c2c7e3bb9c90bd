"""The repository as a whole: names, pins, banned imports and the README's commands."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.platform.cli import parse_arguments
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.text.exchange import split_prompt
from parley.platform.runs.versions import EXTRAS
from tests.ray_head import RayHead

ROOT = Path(__file__).parents[1]
LINKS = {"envs", "platform", "policies", "tune_configs"}
BIN = Path(sys.executable).parent
"""Where ruff and parley lie: in the environment that runs the tests."""


def test_nothing_at_the_root_shadows_the_standard_library() -> None:
    names = {path.stem for path in ROOT.glob("*.py")}
    names |= {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert not names & sys.stdlib_module_names
    assert not (ROOT / "platform" / "__init__.py").exists()
    program = "import platform; print(platform.python_version())"
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().startswith("3.")


def test_the_import_package_holds_links_and_nothing_else() -> None:
    entries = {path.name for path in (ROOT / "parley").iterdir()} - {"__pycache__"}
    assert entries == LINKS | {"__init__.py", "py.typed"}
    for name in LINKS:
        assert (ROOT / "parley" / name).readlink() == Path("..", name)


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("import envs", True),
        ("from policies import dhmm_gpt2", True),
        ("from platform.settings.sections import PPOConfig", True),
        ("import platform.runs.files", True),
        ("import platform", False),
        ("from parley.platform.settings import sections", False),
    ],
)
def test_bare_imports_are_refused(line: str, banned: bool) -> None:
    call = [
        str(BIN / "ruff"),
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "envs/new.py",
        "-",
    ]
    done = subprocess.run(call, cwd=ROOT, input=line, capture_output=True, text=True, check=False)
    assert ("TID251" in done.stdout) == banned


def test_every_folder_of_the_platform_is_in_the_ban() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    parts = [path for path in (ROOT / "platform").iterdir() if path.name != "__pycache__"]
    assert {f"platform.{path.stem}" for path in parts} <= banned.keys()


def test_no_test_module_is_imported_by_another(tracked_files: list[Path]) -> None:
    """What tests share stands in fixtures and helper modules; each test file stands alone."""
    files = [path for path in tracked_files if path.parts[0] == "tests" and path.suffix == ".py"]
    imported = {(str(file), name) for file in files for name in _imports((ROOT / file).read_text())}
    assert [pair for pair in imported if ".test_" in pair[1]] == []


def test_tune_is_known_to_sweeps_and_dashboards_alone(tracked_files: list[Path]) -> None:
    """import-linter cannot tell a package's parts from each other where it is not ours."""
    owners = (Path("platform/engine/sweeps"), Path("platform/monitoring"))
    folders = ("envs", "platform", "policies")
    files = [path for path in tracked_files if path.parts[0] in folders and path.suffix == ".py"]
    importing = {path for path in files if _imports_tune((ROOT / path).read_text())}
    assert importing >= {owners[0] / "sweep.py", owners[1] / "trackers.py"}
    assert [path for path in importing if not any(map(path.is_relative_to, owners))] == []


def _imports_tune(source: str) -> bool:
    return any(f"{name}.".startswith("ray.tune.") for name in _imports(source))


def _imports(source: str) -> Iterator[str]:
    """Modules, and what is taken from them, by their full names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_extras_are_named_as_they_can_be_installed() -> None:
    """From a checkout or by what they bring: parley itself is on no index."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, requirement in EXTRAS.items():
        assert project["optional-dependencies"][extra] == [requirement]
    texts = [*ROOT.glob("docs/*.md"), ROOT / "README.md", *(ROOT / "platform").rglob("*.py")]
    assert [path.name for path in texts if "parley-rl[" in path.read_text()] == []


def test_constraints_pin_everything_that_is_depended_on() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in pins
    wrong = [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)]
    assert not wrong
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {_normal(need) for needs in (project["dependencies"], *extras) for need in needs}
    unpinned = {"setuptools", "aim"}  # pip freeze leaves it out; wants an older filelock
    assert wanted - unpinned <= {_normal(pin) for pin in pins}


def _normal(requirement: str) -> str:
    name = re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


HOW_TESTED = {
    "parley list": "quick",
    "parley doctor": "quick",
    "parley train": "slow",
    "parley evaluate": "slow",
    "parley compare": "slow",
    "parley watch": "slow",
    "parley chat": "slow",
    "parley report": "slow",
    "parley data": "slow",
    "parley tune": "slow",
    "parley detect": "slow",
    "parley submit": "cluster",
    "ray job": "cluster",
    "ray start": "reader",
    "make install": "target",
    "make demo": "target",
    "make test": "target",
    "make test-full": "target",
    "make check": "target",
    "make bench": "target",
    "make constraints": "target",
    "make clean": "target",
    "git clone": "reader",
    "pip install": "reader",
    "python3.11 -m": "reader",
    "source .venv/bin/activate": "reader",
    "cd parley": "reader",
}
"""First two words of a README command -> how it is tested: `quick`, `slow` run it here, `cluster`
with a Ray head of its own, `target` asks make whether it would, `reader` is left to the reader (it
would change the machine)."""

TYPED = "Hello\n/swap\nDo you like tea?\n"
"""What the commands that read from a person are given."""


def readme_commands() -> list[str]:
    """The lines of the README's bash blocks, without comments; continued lines are joined."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [" ".join(shlex.split(line, comments=True)) for line in lines]
    return [command for command in commands if command]


def commands_tested(how: str) -> list[str]:
    """The README's commands that `HOW_TESTED` gives to one way of testing."""
    return [command for command in readme_commands() if HOW_TESTED.get(_key(command)) == how]


def _key(command: str) -> str:
    return " ".join(command.split()[:2])


def test_every_command_of_the_readme_has_its_test() -> None:
    assert [command for command in readme_commands() if _key(command) not in HOW_TESTED] == []


def test_parley_commands_of_the_readme_parse() -> None:
    for command in readme_commands():
        if command.startswith("parley "):
            parse_arguments(shlex.split(command)[1:])


def test_make_targets_of_the_readme_exist() -> None:
    for command in commands_tested("target"):
        call = ["make", "--dry-run", *shlex.split(command)[1:]]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_quick_commands_of_the_readme_run(tmp_path: Path) -> None:
    for command in commands_tested("quick"):
        _run(command, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_of_the_readme_run_on_a_cluster(tmp_path: Path) -> None:
    activated = {"HOME": str(tmp_path), "PATH": f"{BIN}:/usr/bin:/bin"}
    with RayHead(tmp_path, token="f" * 64, environment=activated) as head:
        variables = {"RAY_API_SERVER_ADDRESS": head.dashboard_url, "PATH": activated["PATH"]}
        for command in commands_tested("cluster"):
            command = command.replace("/tmp/shared", str(tmp_path / "shared"))
            done = subprocess.run(
                [*shlex.split(command), "--quick"],
                cwd=ROOT,
                env={**head.environment, **variables},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "shared" / "run" / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slow_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    write_repairs(tmp_path / "repair_pairs.json")
    for command in commands_tested("slow"):
        trains = command.startswith(("parley train", "parley tune"))
        _run(command + (" --quick" if trains and "--quick" not in command else ""), tmp_path)
    for block in readme_python():
        call = [sys.executable, "-c", block]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def write_repairs(path: Path) -> None:
    """The file of repairs that the README begins with, made from small talk."""
    split = generate_pairs(400, seed=0)
    rows = []
    for pair in (*split.training, *split.heldout):
        context, evidence = split_prompt(pair.prompt)
        tags = f"[REPAIR] [VIOLATION={pair.maxim.split('+')[0].upper()}] [CONTEXT] {context} "
        rows.append(
            {
                "input_text": f"{tags}[EVIDENCE] {evidence} [RESPONSE] {pair.rejected}",
                "target_text": pair.chosen,
                "violation_types": pair.maxim.split("+"),
                "maxim": pair.maxim.split("+")[0],
                "source_id": pair.conversation,
            }
        )
    path.write_text(json.dumps(rows))


def readme_python() -> list[str]:
    """The README's Python examples."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _run(command: str, folder: Path) -> None:
    program = [str(BIN / "parley"), *shlex.split(command)[1:]]
    done = subprocess.run(
        program, cwd=folder, input=TYPED, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
