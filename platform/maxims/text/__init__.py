"""Sentences, exchanges, words."""
