"""Trials side by side through Ray Tune: what is searched, who stops early, what is kept."""
