"""Algorithms as token languages: a model writes a trace, which is executed and checked."""
