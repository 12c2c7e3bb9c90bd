"""Learners: losses, RLlib's algorithm and learner for PPO, Ray Train's loop for imitation."""
