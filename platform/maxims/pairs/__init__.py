"""Preference data: violated and repaired responses become pairs, split by conversation."""
