"""Language models that talk: loading, sampling settings and the batched, cached speaker."""
