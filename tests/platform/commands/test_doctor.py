"""What `parley doctor` says of the hub and of drawing: what was tried, and what came of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata

import pytest
from huggingface_hub import constants

from parley.platform.commands import doctor
from parley.platform.commands.doctor import examine_drawing, examine_hub


class Answer(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_HEAD(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_hub_that_must_not_be_asked_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://nowhere.invalid")
    finding = examine_hub()
    assert (finding.mark, finding.text) == ("ok", "not asked, HF_HUB_OFFLINE is set")


def test_a_hub_that_answers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"{server}/200")
    finding = examine_hub()
    assert finding.mark == "ok"
    assert finding.text.startswith(f"{server}/200 answered in ")


def test_a_hub_that_is_out_of_order(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"{server}/503")
    finding = examine_hub()
    assert finding.mark == "warn"
    assert "503" in finding.text and "HF_HUB_OFFLINE=1" in finding.text


def test_a_hub_that_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "HUB_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", place)
        finding = examine_hub()
    assert finding.mark == "warn"
    assert finding.text.startswith("no answer") and place in finding.text


@pytest.mark.parametrize(
    ("installed", "mark", "told"),
    [
        (("pygame-ce",), "ok", "pygame-ce 2.5"),
        (("pygame",), "ok", "pygame 2.5"),
        (("pygame-ce", "pygame"), "warn", "pip uninstall -y pygame-ce pygame"),
        ((), "warn", "pip install pygame-ce"),
    ],
)
def test_what_draws(
    installed: tuple[str, ...], mark: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(distribution: str) -> str:
        if distribution not in installed:
            raise metadata.PackageNotFoundError(distribution)
        return "2.5"

    monkeypatch.setattr(metadata, "version", version)
    finding = examine_drawing()
    assert finding.mark == mark
    assert told in finding.text
