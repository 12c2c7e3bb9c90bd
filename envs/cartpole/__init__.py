"""CartPole as a token language: rules, tokenizer, controllers and episode data sets."""
