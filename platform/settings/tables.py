"""What can be chosen, one line each, for `parley list`; plain data that imports nothing."""

from __future__ import annotations

MODELS: dict[str, str] = {
    "auto": "DialoGPT-small where it has been downloaded, else parley-tiny",
    "parley-tiny": "a small GPT-2 that parley trains on first use, where no weights can be had",
    "FOLDER|NAME": "any causal language model: a run of parley, a folder, a downloaded one by name",
}
"""What may sit in a seat of a dialogue, or be tuned."""

POLICIES: dict[str, str] = {
    "dhmm_gpt2": "GPT-2 with a differentiable HMM belief filter before attention",
    "gpt2": "the same GPT-2 without the filter",
    "mlp": "two-layer perceptron on one-hot tokens, the small baseline",
}
"""The policies over windows of tokens."""

ALGORITHMS: dict[str, str] = {
    "ppo": "proximal policy optimisation through RLlib",
    "reinforce": "policy gradient with a leave-one-out baseline and Adafactor, through RLlib",
    "dpo": "direct preference optimisation through TRL, alone or swept by Tune",
    "detector": "cross-fitted trees that find violated maxims in responses",
    "pretrain": "next-token training on dialogues",
    "next_token": "next-token training on an endless stream of true traces",
    "imitate": "supervised learning of recorded episodes as token sequences",
}
