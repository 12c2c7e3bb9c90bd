"""What a run shows while it goes on: progress, activities, output that lasts."""
