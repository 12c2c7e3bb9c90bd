"""Rollouts: runners that play vectorised environments and cut what they saw into episodes."""
