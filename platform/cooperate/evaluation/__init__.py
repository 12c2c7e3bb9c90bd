"""How a tuned generator answers, judged beside the untuned one and people."""
