"""Small policies over windows and rows of tokens."""
