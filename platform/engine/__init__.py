"""Learners: losses, RLlib's algorithms and learners, Ray Train's loop of next-token training."""
