"""Experiments as data: typed settings, their TOML files and the tables of what can be chosen.

Nothing here imports torch, Ray or any other part of parley, so that a configuration error costs
a fraction of a second.
"""
