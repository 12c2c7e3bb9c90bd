"""Traces executed and measured."""
