"""Next-token training by workers of Ray Train."""
