"""Judges of a response: which of Grice's maxims it violates, and how sure that is."""
