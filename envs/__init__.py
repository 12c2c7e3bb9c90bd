"""Environments: pure rules, tokenizers and rewards."""
