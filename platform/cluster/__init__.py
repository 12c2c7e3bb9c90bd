"""Jobs: a run from start to end. They own Ray's life, signals, checkpoints and the result."""
