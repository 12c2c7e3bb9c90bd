"""Policies: models, samplers and RLModules."""
