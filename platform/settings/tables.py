"""What can be chosen, one line each, for `parley list`; plain data that imports nothing.

It says again what the settings' classes accept, and a test holds both together: asking the classes
takes a second.
"""

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

MODEL, LANGUAGE = ("MODEL",), ("LANGUAGE",)
"""What stands for a row of the table of models, and of that of token languages."""

_TRACE = {
    "policy": ("dhmm_gpt2", "gpt2"),
    "algorithm": ("next_token", "ppo"),
    "language": LANGUAGE,
}
_SELF_PLAY = {"algorithm": ("ppo", "reinforce"), "distorter": MODEL, "competitor": MODEL}

CHOICES: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("cartpole", "ppo"): {"policy": ("dhmm_gpt2", "gpt2", "mlp")},
    ("cartpole", "imitate"): {"policy": ("dhmm_gpt2", "gpt2")},
    ("dialogue", "pretrain"): {},
    ("dialogue", "ppo"): _SELF_PLAY,
    ("dialogue", "reinforce"): _SELF_PLAY,
    ("dialogue", "dpo"): {"model": MODEL},
    ("dialogue", "detector"): {},
    ("trace", "next_token"): _TRACE,
    ("trace", "ppo"): _TRACE,
}
"""(workflow, algorithm) of an experiment -> setting -> what it may be, nothing else changed."""
