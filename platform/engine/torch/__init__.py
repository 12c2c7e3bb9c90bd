"""Optimisers, schedules, precision and threads."""
