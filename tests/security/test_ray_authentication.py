"""Real clusters: without their token nobody gets in, and `parley doctor` says where one would."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from parley.platform.commands.doctor_access import AGENT_PATH, examine_access, examine_api
from parley.platform.commands.finding import Finding
from tests.faults.processes import descendants
from tests.ray_head import AUTH_VARIABLES, RayHead, free_ports

ROOT = Path(__file__).parents[2]
TOKEN, WRONG = "a" * 64, "b" * 64
JOBS = "/api/jobs/"

JOIN = """
import os
import sys
from parley.platform.settings.sections import RayConfig
from parley.platform.errors import ParleyError
from parley.platform.cluster.connection import connect_ray
from parley.platform.terminal.progress import Progress
try:
    with Progress(()) as progress, connect_ray(RayConfig(**eval(sys.argv[1])), 1, progress):
        import ray
        print("inside", ray.get(ray.remote(lambda: 7).remote()))
        if len(sys.argv) > 2:
            print(input())
    if len(sys.argv) > 2:
        print("mode afterwards:", os.environ.get("RAY_AUTH_MODE"))
except ParleyError as error:
    print(error)
    sys.exit(error.exit_code)
"""
"""Joins, or starts, the cluster of the settings in its argument; waits for a line where asked."""


def ask(url: str, token: str | None = None, job: str | None = None) -> int:
    """The status of the answer; `job` is a command to run."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = None if job is None else json.dumps({"entrypoint": job}).encode()
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def call(settings: Mapping[str, object], environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of `JOIN`."""
    done = subprocess.run(
        [sys.executable, "-c", JOIN, repr(settings)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def plain_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment without a word of Ray's authentication, and a home without a token."""
    outer = {key: value for key, value in os.environ.items() if key not in AUTH_VARIABLES}
    return {**outer, "HOME": str(home), **variables}


def doctor_says(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Finding]:
    """What is found about the place that `RAY_ADDRESS` names."""
    for variable in AUTH_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    place = address.removeprefix("http://")
    return {finding.subject: finding for finding in examine_access() if place in finding.text}


def examine_agent(head: RayHead) -> Finding:
    """What is found about its node's agent, once that is up: it begins after the dashboard."""
    place = f"127.0.0.1:{head.agent_port}"
    deadline = time.monotonic() + 60
    while True:
        finding = examine_api("ray node agent", place, AGENT_PATH)
        if "none answers" not in finding.text or time.monotonic() > deadline:
            return finding
        time.sleep(0.2)


@pytest.fixture(scope="module")
def closed_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    with RayHead(tmp_path_factory.mktemp("closed"), token=TOKEN, num_cpus=1) as head:
        yield head


def test_the_job_api_answers_401_403_or_the_token(closed_head: RayHead, tmp_path: Path) -> None:
    url, file = closed_head.dashboard_url + JOBS, tmp_path / "payload"
    for job in (None, f"touch {file}"):
        assert ask(url, job=job) == http.HTTPStatus.UNAUTHORIZED
        assert ask(url, WRONG, job) == http.HTTPStatus.FORBIDDEN
        assert ask(url, TOKEN[:-1], job) == http.HTTPStatus.FORBIDDEN
    assert ask(url, TOKEN) == http.HTTPStatus.OK
    assert json.loads(read(url, TOKEN)) == []  # nothing had been taken on
    assert ask(url, TOKEN, f"touch {file}") == http.HTTPStatus.OK
    deadline = time.monotonic() + 120
    while not file.exists():  # the same payload does run with the token
        assert time.monotonic() < deadline, read(url, TOKEN)
        time.sleep(0.2)


def read(url: str, token: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_doctor_says_that_a_token_is_asked_for(
    closed_head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = doctor_says(monkeypatch, closed_head.dashboard_url)["ray dashboard"]
    assert finding.mark == "ok" and "asks for a token" in finding.text
    agent = examine_agent(closed_head)
    assert agent.mark == "ok" and "asks for a token" in agent.text


def test_joining_needs_the_token(closed_head: RayHead, tmp_path: Path) -> None:
    """What is wrong is said at once; Ray alone would try for 20 s and not say it."""
    settings = {"address": closed_head.address}
    code, said = call(settings, plain_environment(tmp_path))
    assert code == 2 and "wants a token; set RAY_AUTH_MODE=token" in said
    code, said = call(settings, plain_environment(tmp_path, RAY_AUTH_MODE="token"))
    assert code == 2 and f"{tmp_path}/.ray/auth_token holds none" in said
    wrong = plain_environment(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=WRONG)
    code, said = call(settings, wrong)
    assert code == 2 and "refuses the token in RAY_AUTH_TOKEN" in said and WRONG not in said
    assert call(settings, {**closed_head.environment, "HOME": str(tmp_path)}) == (0, "inside 7\n")


@pytest.mark.slow
def test_a_named_token_is_shown_where_one_is_asked_for(
    closed_head: RayHead, tmp_path: Path
) -> None:
    named = plain_environment(tmp_path, RAY_AUTH_TOKEN_PATH=str(closed_head.token_file))
    assert call({"address": closed_head.address}, named) == (0, "inside 7\n")


def follow(url: str, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and errors of `parley submit --follow` a job that the cluster does not know."""
    program = [sys.executable, "-m", "parley.platform.cli", "submit", "--follow", "nobody"]
    done = subprocess.run(
        [*program, "--address", url], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_submit_shows_the_token_where_ray_keeps_it(closed_head: RayHead, tmp_path: Path) -> None:
    """After `ray start --head`, which takes the token in the home without a word of ours."""
    url, environment = closed_head.dashboard_url, plain_environment(tmp_path)
    code, said = follow(url, environment)
    assert code == 2 and "wants a token; set RAY_AUTH_MODE=token" in said
    token_file = tmp_path / ".ray" / "auth_token"
    token_file.parent.mkdir()
    token_file.write_text(TOKEN)
    token_file.chmod(0o644)  # as Ray itself writes it
    code, said = follow(url, environment)
    assert code == 2 and f"the cluster at {url} knows no job nobody" in said
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert "knows no job" not in follow(url, {**environment, "RAY_AUTH_MODE": "disabled"})[1]
    token_file.write_text(WRONG)
    code, said = follow(url, environment)
    assert code == 2 and f"refuses the token in {token_file}" in said and WRONG not in said


@pytest.mark.slow
def test_submit_needs_no_token_where_none_is_asked_for(tmp_path: Path) -> None:
    """A head that was started before there was a token; a local run has made one since."""
    token_file = tmp_path / ".ray" / "auth_token"
    token_file.parent.mkdir()
    token_file.write_text(TOKEN)
    with RayHead(tmp_path / "head", token=None, num_cpus=1) as head:
        code, said = follow(head.dashboard_url, plain_environment(tmp_path))
        assert code == 2 and "knows no job nobody" in said
        settings = {"address": head.address}
        assert call(settings, plain_environment(tmp_path)) == (0, "inside 7\n")


@pytest.mark.slow
def test_doctor_warns_of_an_open_job_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RayHead(tmp_path, token=None, num_cpus=1) as head:
        finding = doctor_says(monkeypatch, head.dashboard_url)["ray dashboard"]
        agent = examine_agent(head)
    assert finding.mark == "warn"
    assert "answers without a token" in finding.text
    assert "CVE-2023-48022" in finding.text and "RAY_AUTH_MODE=token" in finding.text
    assert agent.mark == "warn" and "answers without a token" in agent.text


@pytest.mark.slow
def test_a_local_cluster_asks_for_the_token_in_a_private_file(tmp_path: Path) -> None:
    """Its dashboard and its node's agent, which listens on all addresses of the machine."""
    (port,) = free_ports(1)
    settings = {"dashboard": True, "dashboard_port": port, "num_cpus": 1}
    job = subprocess.Popen(
        [sys.executable, "-c", JOIN, repr(settings), "wait"],
        env=plain_environment(tmp_path),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdin is not None and job.stdout is not None
    try:
        said = [job.stdout.readline().strip() for _ in range(3)]
        token_file = tmp_path / ".ray" / "auth_token"
        assert said == [
            f"Ray dashboard: http://127.0.0.1:{port}",
            f"its token: in {token_file}",
            "inside 7",
        ]
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        url, file = f"http://127.0.0.1:{port}{JOBS}", tmp_path / "payload"
        assert ask(url, job=f"touch {file}") == http.HTTPStatus.UNAUTHORIZED
        assert ask(url, WRONG, f"touch {file}") == http.HTTPStatus.FORBIDDEN
        assert ask(url, token_file.read_text()) == http.HTTPStatus.OK
        nodes = json.loads(read(f"http://127.0.0.1:{port}/api/v0/nodes", token_file.read_text()))
        assert nodes["data"]["result"]["total"] == 1
        assert not file.exists()
        titles = "\n".join(descendants(job.pid).values())
        assert "raylet" in titles and token_file.read_text() not in titles
    finally:
        rest, _ = job.communicate("done\n", timeout=60)
    assert job.returncode == 0
    assert rest == "done\nmode afterwards: None\n"


def test_an_open_bind_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """So are an address that is none, and a mode that Ray would take for no authentication."""
    (port,) = free_ports(1)
    settings = {"dashboard": True, "dashboard_port": port, "dashboard_host": "0.0.0.0"}
    code, said = call(settings, plain_environment(tmp_path, RAY_AUTH_MODE="disabled"))
    assert code == 2 and "ray.dashboard_host 0.0.0.0 would let the network run code here" in said
    assert "unset RAY_AUTH_MODE, or set ray.dashboard_host=127.0.0.1" in said
    code, said = call(settings | {"dashboard_host": "no.such.host."}, plain_environment(tmp_path))
    assert code == 2 and "ray.dashboard_host no.such.host. is no address" in said
    code, said = call({}, plain_environment(tmp_path, RAY_AUTH_MODE="tokn"))
    assert code == 2 and "'tokn' is no mode of Ray" in said
