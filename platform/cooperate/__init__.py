"""Cooperate: a generator learns from repaired and violated responses."""
