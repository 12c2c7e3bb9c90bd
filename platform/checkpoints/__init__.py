"""Checkpoints: weights as safetensors, training state as safetensors and JSON, never a pickle."""
