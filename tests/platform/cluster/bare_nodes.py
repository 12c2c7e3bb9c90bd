"""A cluster's nodes as they are before any job: parley's dependencies, but not parley."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class BareNodes:
    """An interpreter that can import everything but parley, and a home of its own.

    Args:
        folder: an existing one, for both.
    """

    def __init__(self, folder: Path) -> None:
        environment, self.home = folder / "bare", folder / "home"
        call = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(call, check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        # Packages are found there; what an editable installation hooks into start-up is not.
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.home.mkdir()
        self.python = str(environment / "bin" / "python")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{environment / 'bin'}:{SYSTEM_PATH}",
            "PYTHONPATH": "",
        }

    def has_parley(self) -> bool:
        """Whether a program there can import it."""
        call = [self.python, "-c", "import parley"]
        done = subprocess.run(call, cwd=self.home, env=self.environment, check=False)
        return done.returncode == 0
