"""Policy gradients through RLlib: configuration, run, learners, runners."""
