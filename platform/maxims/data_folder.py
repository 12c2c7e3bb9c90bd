"""The folder of real data that detector and judge learn from, where there is one."""

from __future__ import annotations

DATA_VARIABLE = "PARLEY_DATA"
"""Names a folder with `gricebench/` and `topical_chat/`."""
CONVERSATIONS_FOLDER = "topical_chat"
