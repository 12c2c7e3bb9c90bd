"""What environments say of places at which nothing is to be predicted."""

from __future__ import annotations

IGNORED_LABEL = -100
"""What torch's cross-entropy and transformers' causal models leave out of the loss."""
