"""What `parley doctor` has found out, as one line of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the report; `missing` is something that nothing runs without."""

    mark: Literal["ok", "warn", "missing"]
    subject: str
    text: str
