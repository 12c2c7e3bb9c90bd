"""Direct preference optimisation through TRL: data, trainer, run and sweep."""
