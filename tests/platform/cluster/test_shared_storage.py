"""A sweep's run folder must be seen by all nodes; one in a mount namespace of its own does not."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ray_head import RayHead, end_processes

PROGRAM = """
import sys, time
from pathlib import Path
import ray
from parley.platform.settings.errors import ConfigError
from parley.platform.engine.sweeps.shared_storage import check_shared
ray.init(address={address!r}, logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 60
while sum(node["Alive"] for node in ray.nodes()) < 2 and time.monotonic() < deadline:
    time.sleep(0.2)
for folder in sys.argv[1:]:
    try:
        check_shared(Path(folder))
        print("seen")
    except ConfigError as error:
        print(error)
"""


@contextmanager
def node_that_hides(head: RayHead, folder: Path, log: Path) -> Iterator[None]:
    """A second node of the cluster that has an empty file system at `folder`."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    start += [f"--address={head.address}", "--num-cpus=1", "--min-worker-port=0"]
    start += ["--max-worker-port=0", "--disable-usage-stats"]
    hide = f"mount -t tmpfs none {shlex.quote(str(folder))} && exec {shlex.join(start)}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", hide],
            env=head.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        end_processes(process)


@pytest.mark.slow
def test_a_node_that_does_not_see_the_run_folder_is_named(tmp_path: Path) -> None:
    can = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if can.returncode != 0:
        pytest.skip("mount namespaces need more rights than these tests have")
    hidden, shared = tmp_path / "hidden", tmp_path / "shared"
    for folder in (hidden, shared):
        folder.mkdir()
        (folder / "config.toml").write_text("")
    with (
        RayHead(tmp_path, dashboard=False) as head,
        node_that_hides(head, hidden, tmp_path / "log"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(address=head.address), str(shared), str(hidden)],
            env=head.environment,
            capture_output=True,
            text=True,
            check=True,
        )
    first, second = done.stdout.splitlines()
    assert first == "seen"
    assert second.startswith(f"the run folder {hidden} is not seen by node ")
    assert "--run-dir on storage that they share" in second
