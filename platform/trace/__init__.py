"""Trace: algorithms as token languages, learned, executed and checked."""
