"""Small talk that parley generates: a corpus for language models where none is at hand."""

from parley.envs.dialogue.smalltalk.generator import generate_dialogues, generate_openers

__all__ = ["generate_dialogues", "generate_openers"]
