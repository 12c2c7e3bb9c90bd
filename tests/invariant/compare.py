"""Compare two files of `record.py`: a table of what is equal, and where the rest differs.

python -m tests.invariant.compare BEFORE.json AFTER.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.invariant.record import untimed


def main() -> int:
    """1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    before = untimed(json.loads(arguments.before.read_text()))
    after = untimed(json.loads(arguments.after.read_text()))
    differing = 0
    for name in sorted({*before, *after}):
        found = list(differences(before.get(name), after.get(name)))
        values = sum(1 for _ in leaves(before.get(name)))
        print(f"{name:<16} {values:>6} values   {'equal' if not found else 'DIFFERS'}")
        for line in found[:8]:
            print(f"    {line}")
        differing += bool(found)
    return int(differing > 0)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a JSON value, by their paths."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from leaves(entry, f"{path}.{key}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from leaves(entry, f"{path}[{index}]")
    else:
        yield path, value


def differences(before: Any, after: Any) -> Iterator[str]:
    """Each plain value that one side lacks or that differs."""
    old, new = dict(leaves(before)), dict(leaves(after))
    for path in sorted({*old, *new}):
        left, right = old.get(path, "absent"), new.get(path, "absent")
        if left != right and not (left != left and right != right):
            yield f"{path}: {left} -> {right}"


if __name__ == "__main__":
    sys.exit(main())
