"""`make install` with uv, with pip, and with neither; stand-ins note what is asked of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("make", "sh", "date", "mkdir", "ln", "touch", "cat", "chmod")
NOTE = 'echo "$(basename $0) $*" >> calls\n'
MAKE_ENVIRONMENT = "mkdir -p .venv/bin; ln -sf {target} .venv/bin/python\n"


class Machine:
    """A checkout's Makefile, on a machine that has nothing but what a test puts on it."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin = folder / "checkout", folder / "bin"
        self.checkout.mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy2(ROOT / name, self.checkout / name)
        for tool in (*TOOLS, "basename"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    def add(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}")
        (self.bin / name).chmod(0o755)

    def add_python(self, name: str, accepted: bool = True) -> None:
        """An interpreter that Makefile's check accepts or not, and that makes environments."""
        make = MAKE_ENVIRONMENT.format(target=self.bin / name)
        check = f'if [ "$1" = -c ]; then exit {0 if accepted else 1}; fi\n'
        self.add(name, f'{check}{NOTE}if [ "$2" = venv ]; then {make}fi\n')

    def add_uv(self) -> None:
        self.add("installed", NOTE)
        make = MAKE_ENVIRONMENT.format(target=self.bin / "installed")
        self.add("uv", f'{NOTE}if [ "$1" = venv ]; then {make}fi\n')

    def install(self, *arguments: str) -> tuple[int, str, list[str]]:
        """Exit code and errors of `make install`, and what was asked of the stand-ins."""
        call = ["make", "install", *arguments]
        environment = {"PATH": str(self.bin)}
        done = subprocess.run(
            call, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False
        )
        calls = self.checkout / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return done.returncode, done.stderr, lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


INSTALLS = "install --quiet -c constraints.txt -e ."


@pytest.mark.parametrize("name", ["python3.11", "python3.13", "python3.14", "python3"])
def test_pip_installs_where_there_is_no_uv(machine: Machine, name: str) -> None:
    machine.add_python(name)
    code, error, calls = machine.install()
    assert (code, error) == (0, "")
    assert calls == [f"{name} -m venv --clear .venv", f"python -m pip {INSTALLS}"]
    assert machine.install()[2] == []


def test_an_interpreter_that_does_not_fit_is_passed_over(machine: Machine) -> None:
    machine.add_python("python3.11", accepted=False)
    machine.add_python("python3.13")
    assert machine.install()[2][0] == "python3.13 -m venv --clear .venv"


@pytest.mark.parametrize(("pythons", "asked"), [(["python3.12"], "python3.12"), ([], ">=3.11")])
def test_uv_is_used_where_it_is(machine: Machine, pythons: list[str], asked: str) -> None:
    """With the interpreter that was found, else with one that uv finds or fetches."""
    for name in pythons:
        machine.add_python(name)
    machine.add_uv()
    code, error, calls = machine.install()
    assert (code, error) == (0, "")
    python = "--python .venv/bin/python -c constraints.txt -e ."
    assert calls == [
        f"uv venv --quiet --seed --clear --python {asked} .venv",
        f"uv pip install --quiet {python}",
    ]


def test_a_person_may_do_without_uv(machine: Machine) -> None:
    machine.add_uv()
    machine.add_python("python3.12")
    assert machine.install("UV=")[2][0] == "python3.12 -m venv --clear .venv"


def test_what_is_missing_is_told(machine: Machine) -> None:
    code, error, calls = machine.install()
    assert (code, calls) == (2, [])
    assert "Python 3.11 or newer with its venv module is needed" in error
    assert "or uv" in error and "PYTHON=" in error
