#!/usr/bin/env bash
# TRL 1.16.0: DPOConfig(loss_type=["sigmoid"], label_smoothing=0.2) trains exactly as with 0.
#
# Expected: the smoothed ("conservative") DPO loss, -(1 - e) log s(x) - e log s(-x), or an error.
# Seen: the same loss to the last bit, and no warning; only "robust" and "exo_pair" read the setting.
# Around it: loss_type=["sigmoid", "robust"] with loss_weights=[2 (1 - e), -(1 - 2 e)] is that loss.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet trl==1.16.0 transformers==5.23.0 torch==2.13.0 peft==0.21.2 datasets==5.2.0 >&2
cd "$folder"
export HF_HUB_OFFLINE=1 TRL_EXPERIMENTAL_SILENCE=1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy
import math

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

words = ["<end>", "<pad>", "tea", "rain", "yes", "no", "sure", "never"]
inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<pad>")
rows = Dataset.from_list(
    [{"prompt": "tea ", "chosen": "yes sure", "rejected": "no"}, {"prompt": "rain ", "chosen": "no", "rejected": "yes"}]
)


def losses(smoothing, kinds=("sigmoid",), weights=None):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0)
    settings = DPOConfig(
        output_dir="out", loss_type=list(kinds), loss_weights=weights, label_smoothing=smoothing, beta=0.5, seed=0,
        max_steps=3, per_device_train_batch_size=2, learning_rate=0.05, lr_scheduler_type="constant", logging_steps=1,
        report_to="none", save_strategy="no", use_cpu=True, bf16=False, disable_tqdm=True, gradient_checkpointing=False,
    )
    model = GPT2LMHeadModel(config)
    trainer = DPOTrainer(model, copy.deepcopy(model), args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


plain, smoothed = losses(0.0), losses(0.2)
e = 0.2
mixed = losses(e, ("sigmoid", "robust"), [2 * (1 - e), -(1 - 2 * e)])
print("trl", trl.__version__)
print("label_smoothing 0.0:", plain)
print("label_smoothing 0.2:", smoothed)
print("sigmoid and robust, weighted:", mixed)
assert plain == smoothed, "label_smoothing plays a part now"
assert not math.isclose(mixed[-1], plain[-1], rel_tol=1e-3), "the way around no longer differs"
PYTHON
