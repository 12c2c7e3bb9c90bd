"""The commands of `parley`, one module each; what they start is imported when it is needed."""
