"""The token that a local Ray cluster asks of its clients: whether, where it lies, who may read it.

Ray takes it from `RAY_AUTH_TOKEN`, else from the file that `RAY_AUTH_TOKEN_PATH` names, else from
`~/.ray/auth_token`, which it would write readable by all. What is in the file is never shown.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Literal, get_args

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.spelling import nearest

Mode = Literal["token", "disabled"]
MODES: tuple[Mode, ...] = get_args(Mode)
MODE_VARIABLE, TOKEN_VARIABLE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"
TOKEN_BYTES = 32
PRIVATE_MODE, OTHERS_MASK = 0o600, 0o077


def auth_mode() -> Mode | None:
    """What `RAY_AUTH_MODE` says; None where it is unset.

    Raises:
        ConfigError: it is no mode. Ray would take it as `disabled`.
    """
    given = os.environ.get(MODE_VARIABLE)
    if given is None:
        return None
    for mode in MODES:
        if given.lower() == mode:
            return mode
    raise ConfigError(
        f"{MODE_VARIABLE}={given!r} is no mode of Ray{nearest(given, MODES)}, which would run "
        f"without authentication; write token or disabled, or unset it"
    )


def token_file() -> Path | None:
    """The file that Ray reads, whether or not it is there; None: `RAY_AUTH_TOKEN` holds it."""
    if os.environ.get(TOKEN_VARIABLE):
        return None
    named = os.environ.get(PATH_VARIABLE)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def has_token() -> bool:
    """Whether Ray would find a token."""
    path = token_file()
    return path is None or path.is_file()


def others_may_read(path: Path) -> bool:
    """Whether group or others have any right on the token file."""
    return bool(path.stat().st_mode & OTHERS_MASK)


def secure_token() -> Path | None:
    """Make sure that there is a token that only its owner can read; give its file.

    A missing file is made, mode 0600; the mode of one that others can read is tightened.

    Returns:
        The file; None where `RAY_AUTH_TOKEN` holds the token.

    Raises:
        ConfigError: the file cannot be made, is empty, or stays readable by others.
    """
    path = token_file()
    if path is None:
        return None
    try:
        if not path.exists():
            _create(path)
        if others_may_read(path):
            path.chmod(PRIVATE_MODE)
        is_empty = not path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Ray's token file {path}{_mode_text(path)} cannot be made private to you ({error}); "
            f"name another by {PATH_VARIABLE}"
        ) from error
    if is_empty:
        raise ConfigError(f"Ray's token file {path} is empty; delete it, and a new one is made")
    return path


def _create(path: Path) -> None:
    """Write a new token; where another process has just done so, its token stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)


def _mode_text(path: Path) -> str:
    try:
        return f" (mode {stat.S_IMODE(path.stat().st_mode):04o})"
    except OSError:
        return ""
