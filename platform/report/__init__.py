"""Evaluation: measured episodes, pictures of them, learning curves; plain torch, without Ray."""
