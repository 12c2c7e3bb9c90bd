"""How a tuned generator answers, compared with the untuned one and people."""
