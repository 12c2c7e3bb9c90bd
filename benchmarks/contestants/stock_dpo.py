"""One DPO training as a user of TRL scripts it, in a process of its own.

It imports, reads and tokenises the pairs, and trains; TRL computes the reference as it goes, or
before it begins. `benchmarks/sweep.py` starts it once for each point of its grid.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import datasets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer


def main() -> None:
    """Train as the arguments say; print the gradient steps and the loss as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beta", type=float, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--precompute", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(options.model),
        args=DPOConfig(
            output_dir=str(options.out),
            beta=options.beta,
            learning_rate=options.learning_rate,
            per_device_train_batch_size=options.batch_size,
            num_train_epochs=1,
            max_length=None,
            precompute_ref_log_probs=options.precompute,
            activation_checkpointing=False,
            bf16=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_json(str(options.pairs)),
        processing_class=AutoTokenizer.from_pretrained(options.model),
    )
    outcome = trainer.train()
    trainer.save_model()
    print(json.dumps({"steps": outcome.global_step, "loss": outcome.training_loss}))


if __name__ == "__main__":
    main()
