"""The token file of local clusters: private, whole, and never guessed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from parley.platform.cluster.ray_token import auth_mode, has_token, others_may_read, secure_token
from parley.platform.errors import InputError
from tests.ray_head import AUTH_VARIABLES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and an environment that names none."""
    for variable in AUTH_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(home: Path) -> None:
    assert not has_token()
    previous = os.umask(0)
    try:
        path = secure_token()
    finally:
        os.umask(previous)
    assert path == home / ".ray" / "auth_token"
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert has_token()
    assert secure_token() == path and path.read_text() == token
    assert [file.name for file in path.parent.iterdir()] == ["auth_token"]


def test_a_token_that_others_can_read_is_tightened_and_kept(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("as Ray wrote it")
    path.chmod(0o644)
    assert others_may_read(path)
    secure_token()
    assert mode_of(path) == 0o600
    assert path.read_text() == "as Ray wrote it"


def test_many_processes_agree_on_one_token(home: Path) -> None:
    seen: list[str] = []

    def read() -> None:
        path = secure_token()
        assert path is not None
        seen.append(path.read_text())

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16 and len(set(seen)) == 1 and seen[0]


def test_the_environment_names_the_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = home / "own_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(own))
    assert secure_token() == own
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert secure_token() is None
    assert not (home / ".ray").exists()


def test_a_token_file_that_cannot_serve_is_refused_by_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "empty").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "empty"))
    with pytest.raises(InputError, match=r"token file .*/empty is empty; delete it"):
        secure_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "empty" / "below"))
    with pytest.raises(InputError, match=r"cannot be made private .* RAY_AUTH_TOKEN_PATH"):
        secure_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home))
    with pytest.raises(InputError, match=r"cannot be made private .* RAY_AUTH_TOKEN_PATH"):
        secure_token()


def test_a_mode_that_ray_would_take_for_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auth_mode() is None
    for given, mode in (("token", "token"), ("TOKEN", "token"), ("Disabled", "disabled")):
        monkeypatch.setenv("RAY_AUTH_MODE", given)
        assert auth_mode() == mode
    monkeypatch.setenv("RAY_AUTH_MODE", "tokn")
    with pytest.raises(InputError, match=r"'tokn' is no mode of Ray \(did you mean token\?\)"):
        auth_mode()
