"""Language models of dialogue: tokenizers, training, n-gram references, the embedded model."""
