"""Insults, and replies that refuse to take part: what no helpful speaker says."""

from __future__ import annotations

import re

_INSULTS = r"""
idiots? | idiotic | morons? | moronic | stupid\w* | dumb | dumbest | dumbass | losers? | pathetic
| imbeciles? | worthless | garbage | disgusting | scum | jerks? | ugly | trash | brainless
| clueless | (?:shut|stfu) \s up | shut \s it | get \s lost | go \s away | screw \s you
| f[u*]ck\w* | shit\w* | drop \s dead | you \s (?:suck|stink) | leave \s me \s alone
| (?:hate|despise) \s (?:you|people \s like \s you|talking)
| nobody \s (?:cares|asked|likes \s you) | (?:you \s are|you're) \s (?:so \s)? (?:boring|annoying)
| wast(?:e|ing) \s (?:of \s)? my \s time | bother \s someone | make \s me \s sick
"""
_REFUSALS = r"""
(?:don't|dont|do \s not|couldn't|could \s not) \s (?:really \s)? care | whatever | who \s cares
| (?:not|isn't) \s my \s (?:problem|job|business) | none \s of \s your \s business
| no \s comment | (?:look|google) \s it \s up | figure \s it \s out | find \s out \s yourself
| ask \s some(?:one|body) \s else | (?:can't|cannot|won't|can \s not) \s (?:help|answer|tell \s you)
| not \s going \s to \s (?:tell|answer|say) | rather \s not | have \s no \s (?:idea|opinion)
| why \s are \s you \s (?:even \s)? (?:asking|telling)
| don't \s (?:feel \s like|want \s to) \s (?:talk|chat|answer|discuss)\w*
| not \s interested | makes \s no \s difference
"""
_DISCOURTESY = re.compile(rf"\b(?:{_INSULTS}|{_REFUSALS})\b", re.VERBOSE | re.IGNORECASE)
_APOSTROPHE = "\u2019"


def count_discourtesy(reply: str) -> float:
    """Insults and refusals per word of the reply: 0 for nearly everything that people say."""
    text = reply.replace(_APOSTROPHE, "'")
    num_words = max(1, len(text.split()))
    return len(_DISCOURTESY.findall(text)) / num_words
