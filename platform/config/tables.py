"""What can be chosen, one line each, for `parley list`; plain data that imports nothing."""

from __future__ import annotations

POLICIES: dict[str, str] = {
    "dhmm_gpt2": "GPT-2 with a differentiable HMM belief filter before attention",
    "gpt2": "the same GPT-2 without the filter",
    "mlp": "two-layer perceptron on one-hot tokens, the small baseline",
}

ALGORITHMS: dict[str, str] = {
    "ppo": "proximal policy optimisation through RLlib",
    "imitate": "supervised learning of recorded episodes as token sequences",
}
