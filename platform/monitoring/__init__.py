"""What people watch a run by: metrics of the cluster, and trackers of experiments."""
