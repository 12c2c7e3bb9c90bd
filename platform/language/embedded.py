"""parley-tiny, the embedded model: small talk that parley generates, learned on first use.

Nothing is downloaded. A recipe says everything that the model depends on; its hash names the
folder in the user's cache, so that another recipe never finds this one's model.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import transformers.utils.logging
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.language.dialogue_tokens import TokenDialogues, encode_dialogues
from parley.platform.language.ngrams import KneserNey
from parley.platform.language.settings import LanguageModelConfig, LanguageTrainingConfig
from parley.platform.language.tokenizer import train_tokenizer
from parley.platform.language.training import LanguageTrainer, build_language_model, measure_losses
from parley.platform.records import Facts
from parley.platform.runs.cache_folder import build_once, cache_root, find_damage
from parley.platform.runs.files import to_json
from parley.platform.terminal.progress import shown

EMBEDDED_NAME = "parley-tiny"
RECIPE_FILE = "recipe.json"

Report = Callable[[str, float], None]
"""What is being done, and the share of the whole work that is finished."""


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Everything that the embedded model is made of."""

    version: int = 1
    """Raised when the generator or the training changes what comes out of the same settings."""
    num_dialogues: int = 24_000
    """Generated dialogues to learn from."""
    num_heldout: int = 500
    """Further ones to measure on."""
    num_tokenizer_dialogues: int = 5_000
    """The first of them, from which the tokenizer learns its merges."""
    seed: int = 0
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    training: LanguageTrainingConfig = field(
        default_factory=lambda: LanguageTrainingConfig(
            num_steps=1_000, batch_tokens=1_024, warmup_steps=30
        )
    )
    num_threads: int = 1
    """A second one costs such a small network more than it brings."""

    @property
    def digest(self) -> str:
        """Names the recipe: twelve hexadecimal digits."""
        return hashlib.sha256(to_json(self.facts()).encode()).hexdigest()[:12]

    def facts(self) -> Facts:
        """The recipe as plain values."""
        sections = {"model": self.model.model_dump(), "training": self.training.model_dump()}
        return {**asdict(self), **sections}


def embedded_folder(recipe: EmbeddedRecipe | None = None) -> Path:
    """Where the embedded model lies, or will lie."""
    return cache_root() / f"{EMBEDDED_NAME}-{(recipe or EmbeddedRecipe()).digest}"


def embedded_model(recipe: EmbeddedRecipe | None = None, progress: Report | None = None) -> Path:
    """The folder of the embedded model, which is built on first use.

    It holds a transformers GPT-2, its tokenizer, and `recipe.json` with the measured entropies.

    Args:
        recipe: what to build; parley-tiny by default.
        progress: is told of the stages; shown on standard error by default.

    Raises:
        CacheError: the cache cannot be written.
    """
    chosen = recipe or EmbeddedRecipe()
    folder = embedded_folder(chosen)
    if find_damage(folder) is None:
        return folder
    with shown(f"building {EMBEDDED_NAME}") as building:
        report = progress or building.report
        return build_once(folder, lambda target: _build(chosen, target, report), building.say)


def _build(recipe: EmbeddedRecipe, folder: Path, report: Report) -> None:
    started = time.perf_counter()
    report("generating small talk", 0.0)
    dialogues = generate_dialogues(recipe.num_dialogues + recipe.num_heldout, recipe.seed)
    report("training the tokenizer", 0.02)
    messages = (m for talk in dialogues[: recipe.num_tokenizer_dialogues] for m in talk)
    tokenizer = train_tokenizer(messages, recipe.model.vocab_size, recipe.model.context)
    report("encoding", 0.03)
    training = encode_dialogues(dialogues[: recipe.num_dialogues], tokenizer)
    heldout = encode_dialogues(dialogues[recipe.num_dialogues :], tokenizer)
    with limit_threads(recipe.num_threads):
        model, num_tokens = _train(recipe, tokenizer, training, report)
        report("measuring", 0.98)
        figures = _measure(model, training, heldout)
    figures |= {"training_tokens": num_tokens, "seconds": time.perf_counter() - started}
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    text = to_json({"recipe": recipe.facts(), "measured": figures}, indent=2)
    (folder / RECIPE_FILE).write_text(text + "\n", encoding="utf-8")
    report("done", 1.0)


def _train(
    recipe: EmbeddedRecipe,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: TokenDialogues,
    report: Report,
) -> tuple[GPT2LMHeadModel, int]:
    model = build_language_model(recipe.model, tokenizer, recipe.seed)
    with torch.random.fork_rng(devices=[]):
        trainer = LanguageTrainer(model, dialogues, recipe.training, recipe.seed)
        for step in range(recipe.training.num_steps):
            loss, _ = trainer.learn()
            if step % 10 == 0:
                done = 0.04 + 0.94 * step / recipe.training.num_steps
                report(f"training, {loss:.2f} nats per token", done)
    return model, trainer.num_tokens


def _measure(
    model: GPT2LMHeadModel, training: TokenDialogues, heldout: TokenDialogues
) -> dict[str, float]:
    """Held-out nats per token of the model, and of unigrams and bigrams of the same tokens."""
    vocab_size = int(model.config.vocab_size)
    return {
        "heldout_nats_per_token": measure_losses(model, heldout).mean,
        "unigram_nats_per_token": KneserNey(training, 1, vocab_size).measure(heldout).mean,
        "bigram_nats_per_token": KneserNey(training, 2, vocab_size).measure(heldout).mean,
        "trigram_nats_per_token": KneserNey(training, 3, vocab_size).measure(heldout).mean,
        "heldout_tokens": heldout.num_targets,
    }
