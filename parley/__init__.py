"""parley: distributed reinforcement learning for agents that speak in tokens."""

__version__ = "0.1.0"
