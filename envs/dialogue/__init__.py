"""Dialogue: turns of token ids between any number of seats, and talk to begin and learn with."""
