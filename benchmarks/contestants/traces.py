"""Who takes part in `benchmarks/trace.py`: one small GPT-2 in parley and in transformers.

All train on the same traces, each once, and continue the same prompts. Weights are equal at the
start: parley's model is copied into transformers' `GPT2LMHeadModel`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import END, Language
from parley.envs.trace.split import draw_split
from parley.platform.engine.next_token.gradient_step import NextTokenLearner
from parley.platform.trace.blocks import BlockRecipe, TraceBatch, make_block
from parley.platform.trace.settings import NextTokenConfig, StreamConfig
from parley.platform.trace.stream import to_tensors
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.continuation import continue_traces

HOLDOUT = 0.1
LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-3, 0.01, 1.0
NO_FILTER = {"counter_heads": 0, "filter_heads": 0}


@dataclass(frozen=True)
class Case:
    """One language and how much of it is learned and written."""

    title: str
    language: Language
    sizes: Sequence[int]
    batch_tokens: int
    """Of parley's batches, padding included."""
    num_batches: int
    """Gradient steps of parley's training, in blocks as large as the experiments' at most."""
    num_prompts: int
    """Traces of each size that are written together."""
    widths: Mapping[str, int]
    """Sizes of the network, as `DHMMGPT2Config` calls them."""

    @property
    def recipe(self) -> BlockRecipe:
        """Of the training traces."""
        per_block = min(self.num_batches, StreamConfig().block_batches)
        return BlockRecipe(self.language, self.sizes, HOLDOUT, self.batch_tokens, per_block, seed=0)

    @property
    def num_blocks(self) -> int:
        """Blocks that hold the training's batches."""
        return self.num_batches // self.recipe.num_batches

    @cached_property
    def batches(self) -> list[TraceBatch]:
        """The training traces in parley's batches."""
        return [batch for n in range(self.num_blocks) for batch in make_block(self.recipe, n)]

    @cached_property
    def prompts(self) -> list[tuple[Tensor, int]]:
        """For each size, prompts int64 [N, P] and the length of a whole trace."""
        generator = np.random.default_rng(1)
        found = []
        for size in self.sizes:
            inputs = draw_split(
                self.language, size, self.num_prompts, generator, "heldout", HOLDOUT
            )
            traces = self.language.write_traces(size, inputs)
            prompts = torch.from_numpy(traces.tokens[:, : traces.prompt_length])
            found.append((prompts, self.language.num_tokens(size)))
        return found

    def make_model(self, policy: str) -> DHMMGPT2ForCausalLM:
        """parley's model with fresh weights, the same at every call."""
        torch.manual_seed(0)
        longest = max(self.language.num_tokens(size) for size in self.sizes)
        sizes: dict[str, Any] = {
            **self.widths,
            "vocab_size": self.language.vocab_size,
            "max_len": longest,
            **(NO_FILTER if policy == "gpt2" else {}),
        }
        return DHMMGPT2ForCausalLM(DHMMGPT2Config(**sizes))


@dataclass
class Work:
    """What one contestant did in one repetition."""

    num_tokens: int = 0
    """Trained: without padding; written: without prompts."""
    num_steps: int = 0
    """Gradient steps."""
    positions: int = 0
    """Places that the model computed in training, padding included."""
    seconds: float = 0.0
    """Of processor time."""
    written: list[Tensor] = field(default_factory=list)
    """Of each size, int64 [N, T]."""


@contextmanager
def count_seconds(work: Work) -> Iterator[None]:
    """Add the processor seconds of the block."""
    started = time.process_time()
    yield
    work.seconds += time.process_time() - started


def train_parley(case: Case, policy: str) -> Work:
    """Train on the stream's batches; making their traces is part of the time."""
    work = Work()
    model = case.make_model(policy)
    settings = NextTokenConfig(
        num_steps=len(case.batches),
        batch_tokens=case.batch_tokens,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        warmup_steps=1,
    )
    learner = NextTokenLearner(model, settings, seed=0)
    for number in range(case.num_blocks):
        with count_seconds(work):
            for batch in make_block(case.recipe, number):
                learner.learn(to_tensors(batch))
                work.num_tokens += batch.num_tokens
                work.positions += batch.tokens.size
    work.num_steps = learner.num_steps
    return work


class _Clock(TrainerCallback):
    """Takes the processor time of a training, from its first batch to its last step."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.started = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.process_time()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.work.seconds += time.process_time() - self.started


def train_with_trainer(case: Case, folder: Path, is_grouped: bool) -> Work:
    """Train with transformers' `Trainer` on the same traces, in as many gradient steps.

    A batch holds as many traces as parley's do on average. Making the traces and the data set is
    not part of the time.
    """
    work = Work()
    rows = list(_split_rows(case.batches))
    trainer = Trainer(
        copy_into_gpt2(case.make_model("gpt2")),
        TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=-(-len(rows) // len(case.batches)),
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="cosine",
            warmup_steps=1,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_GRAD_NORM,
            optim="adamw_torch_fused",
            train_sampling_strategy="group_by_length" if is_grouped else "random",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=lambda examples: pad_rows(examples, work),
        callbacks=[_Clock(work)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    work.num_steps = trainer.state.global_step
    return work


def pad_rows(examples: Sequence[Mapping[str, list[int]]], work: Work) -> dict[str, Tensor]:
    """A batch for transformers; adds to `work` what it holds."""
    lengths = [len(example["input_ids"]) for example in examples]
    shape = (len(examples), max(lengths))
    tokens = np.full(shape, END)
    labels, mask = np.full(shape, IGNORED_LABEL), np.zeros(shape, np.int64)
    for row, (example, length) in enumerate(zip(examples, lengths, strict=True)):
        tokens[row, :length] = example["input_ids"]
        labels[row, :length] = example["labels"]
        mask[row, :length] = 1
    work.num_tokens += sum(lengths)
    work.positions += tokens.size
    arrays = {"input_ids": tokens, "labels": labels, "attention_mask": mask}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _split_rows(batches: Sequence[TraceBatch]) -> Iterator[dict[str, list[int]]]:
    """The traces of all batches, one by one and without padding."""
    for batch in batches:
        for tokens, labels in zip(batch.tokens, batch.labels, strict=True):
            length = len(tokens)
            while length > 1 and tokens[length - 2] == END:
                length -= 1
            yield {"input_ids": tokens[:length].tolist(), "labels": labels[:length].tolist()}


def write_with_parley(case: Case, policy: str) -> Work:
    """Continue all prompts, those of one size together."""
    work = Work()
    model = silence_end(case.make_model(policy)).eval()
    for prompts, longest in case.prompts:
        with count_seconds(work):
            written = continue_traces(model, prompts, longest, END).tokens
        _note(work, written, prompts)
    return work


def write_with_generate(case: Case) -> Work:
    """The same with transformers' model and `generate`, in the same batches."""
    work = Work()
    model: Any = copy_into_gpt2(silence_end(case.make_model("gpt2"))).eval()
    for prompts, longest in case.prompts:
        with count_seconds(work):
            written = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_length=longest,
                do_sample=False,
                use_cache=True,
                pad_token_id=END,
                eos_token_id=END,
            )
        _note(work, written, prompts)
    return work


def _note(work: Work, written: Tensor, prompts: Tensor) -> None:
    work.num_tokens += written.numel() - prompts.numel()
    work.written.append(written)


def silence_end(model: DHMMGPT2ForCausalLM) -> DHMMGPT2ForCausalLM:
    """Keep fresh weights from ending traces at random: the end token's logit is always 0, and some
    other token's is above."""
    with torch.no_grad():
        model.lm_head.weight[END] = 0.0
    return model


def copy_into_gpt2(model: DHMMGPT2ForCausalLM) -> GPT2LMHeadModel:
    """transformers' GPT-2 with the weights of parley's; its linear layers are transposed."""
    config, source = model.config, model.transformer
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_len,
            n_embd=config.embed_size,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.ff_hidden,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    target = gpt2.transformer
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (source.token_embedding, target.get_submodule("wte")),
        (source.get_submodule("position_embedding"), target.get_submodule("wpe")),
        (source.norm, target.get_submodule("ln_f")),
    ]
    names = {
        "norm_1": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.proj": "attn.c_proj",
        "norm_2": "ln_2",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    }
    for index, block in enumerate(source.blocks):
        pairs += [
            (block.get_submodule(own), target.get_submodule(f"h.{index}.{other}"))
            for own, other in names.items()
        ]
    with torch.no_grad():
        for own, other in pairs:
            for name, weight in own.named_parameters():
                is_transposed = isinstance(own, nn.Linear) and weight.dim() == 2
                other.get_parameter(name).copy_(weight.T if is_transposed else weight)
    return gpt2
