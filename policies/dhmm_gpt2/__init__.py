"""DHMM-GPT2: GPT-2 with differentiable hidden Markov belief filters in its residual stream.

Importing this package registers the family with transformers' Auto classes.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from parley.policies.dhmm_gpt2.cache import DHMMGPT2Cache
from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.filter import BeliefFilter, parameter_groups
from parley.policies.dhmm_gpt2.loading import load_dhmm_gpt2
from parley.policies.dhmm_gpt2.model import DHMMGPT2ForCausalLM, DHMMGPT2Model

AutoConfig.register(DHMMGPT2Config.model_type, DHMMGPT2Config, exist_ok=True)
AutoModel.register(DHMMGPT2Config, DHMMGPT2Model, exist_ok=True)
AutoModelForCausalLM.register(DHMMGPT2Config, DHMMGPT2ForCausalLM, exist_ok=True)

__all__ = [
    "BeliefFilter",
    "DHMMGPT2Cache",
    "DHMMGPT2Config",
    "DHMMGPT2ForCausalLM",
    "DHMMGPT2Model",
    "load_dhmm_gpt2",
    "parameter_groups",
]
