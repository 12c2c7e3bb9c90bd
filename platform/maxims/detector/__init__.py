"""The detector of violated maxims: features, cross-fitted trees."""
