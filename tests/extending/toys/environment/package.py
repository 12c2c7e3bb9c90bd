"""A coin that falls more often on one side."""
