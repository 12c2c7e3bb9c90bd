"""What the detector reads off a response."""
