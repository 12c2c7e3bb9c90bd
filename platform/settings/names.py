"""Names that become folders or files: of runs, jobs, trials, modules. None can leave its folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from parley.platform.errors import InputError, display_path

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""One step of a path: neither a separator nor a leading dot, 64 characters at most."""

_NAME = re.compile(NAME_PATTERN.removesuffix("$"))


def check_name(kind: str, text: str) -> str:
    """Return `text` where it is a name: letters, digits, `.`, `_` and `-`, 64 at most.

    Args:
        kind: what is named, for the message (`submission id`, `trial name`).
        text: the name.

    Raises:
        InputError: it is none.
    """
    if _NAME.fullmatch(text) is None:
        raise InputError(
            f"{kind} {_shorten(text)} is not a name; write 1 to 64 letters, digits, '.', '_' or "
            f"'-', beginning with a letter or digit"
        )
    return text


def member_path(folder: Path, member: str, source: Path) -> Path:
    """The file `member` inside `folder`, where it lies there, symbolic links followed.

    Args:
        folder: what the file belongs to.
        member: its path inside, with `/`.
        source: the file that names it, for the message.

    Raises:
        InputError: it lies elsewhere.
    """
    path = folder / member
    steps = PurePosixPath(member).parts
    is_plain = bool(steps) and ".." not in steps and "\0" not in member
    if not (is_plain and path.resolve().is_relative_to(folder.resolve())):
        raise InputError(
            f"{display_path(source)} names {_shorten(member)}, which is outside "
            f"{display_path(folder)}; take a folder that parley wrote"
        )
    return path


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
