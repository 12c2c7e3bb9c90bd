"""The settings of preference pairs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from parley.platform.settings.inputs import Input
from parley.platform.settings.sections import Count, Positive, Section


class PreferenceDataConfig(Section):
    """The preference pairs."""

    SHORT_KEY: ClassVar[str] = "path"
    """`data=FOLDER` means `data.path=FOLDER`."""

    path: Annotated[str, Input("pairs")] = ""
    """Folder that `parley data prepare` wrote; empty: pairs that parley generates from small
    talk."""
    num_generated: Annotated[int, Field(ge=40)] = 2_000
    """Generated pairs, where `path` is empty."""
    max_prompt_tokens: Count = 0
    """Prompts are cut from the left to so many tokens; 0: only as far as the window asks."""
    max_response_tokens: Positive = 128
    """Pairs with a longer response are left out, and counted."""
