"""What is judged and generated: a response in its context, and the prompt that asks for one.

Maxims: H. P. Grice, "Logic and Conversation" (1975).
"""

from __future__ import annotations

from typing import NamedTuple

MAXIMS = ("quantity", "quality", "relation", "manner")
"""The order of every vector of four."""

CONTEXT_TAG, EVIDENCE_TAG = "Context: ", "\nEvidence: "
REQUEST = "\nGenerate cooperative response:"
"""How every prompt ends; the response follows after a space."""


class Exchange(NamedTuple):
    """A response and what it answers."""

    context: str
    """The turns before it, oldest first, each opened by its speaker: `[agent_1]: Hello!`."""
    evidence: str
    """What the speaker could know: text, or pointers such as `FS1 Personal Knowledge`."""
    response: str


def make_prompt(context: str, evidence: str) -> str:
    """The prompt that asks for a cooperative response."""
    return f"{CONTEXT_TAG}{context}{EVIDENCE_TAG}{evidence}{REQUEST}"


def split_prompt(prompt: str) -> tuple[str, str]:
    """Context and evidence of a prompt.

    Raises:
        ValueError: the prompt has not the form that `make_prompt` gives.
    """
    body = prompt.removesuffix(REQUEST)
    context, tag, evidence = body.removeprefix(CONTEXT_TAG).rpartition(EVIDENCE_TAG)
    if body == prompt or not prompt.startswith(CONTEXT_TAG) or not tag:
        raise ValueError(
            f"not a prompt of the form {make_prompt('…', '…')!r}: {prompt[:80]!r}; "
            f"write preference data by `parley data prepare`"
        )
    return context, evidence
