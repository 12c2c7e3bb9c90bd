"""Small tokenizers of every way to open a text: with BOS or without, with a space or without."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from parley.platform.language.tokenizer import train_tokenizer

SPACE = "\u2581"
TEXTS = [
    "Hello Ann, do you like tea?",
    "Yes, tea is nice. And you?",
    "I prefer jazz on day 0.",
    "Then let us meet at 7 o'clock.",
    "Context: [agent_1]: do you like tea?\nEvidence: FS1\nGenerate cooperative response:",
]
BOS, EOS, UNKNOWN = "<s>", "</s>", "<unk>"


def make_byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2's: no BOS is put in, words carry the space before them."""
    return train_tokenizer(TEXTS * 3, 340, 256)


def make_byte_level_with_bos() -> PreTrainedTokenizerFast:
    """A space is put before each text, and BOS, which also ends turns, as with OPT."""
    tokenizer = make_byte_level()
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return _finish(backend, tokenizer.eos_token, tokenizer.eos_token, None)


def make_llama_like() -> PreTrainedTokenizerFast:
    """As Llama's legacy tokenizer: a normaliser always prepends a space; there are no words."""
    backend = Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    _train(backend)
    backend.pre_tokenizer = None  # as in the original: merges alone keep words apart
    return _finish(backend, BOS, EOS, UNKNOWN)


def make_metaspace(prepend_scheme: str) -> PreTrainedTokenizerFast:
    """SentencePiece's space as a pre-tokeniser, with BOS."""
    backend = Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    _train(backend)
    return _finish(backend, BOS, EOS, UNKNOWN)


def make_unigram() -> PreTrainedTokenizerFast:
    """A model of whole pieces, which knows its own end token as a piece of text."""
    letters = sorted({letter for text in TEXTS for letter in text if letter != " "})
    pieces = [(UNKNOWN, 0.0), (BOS, 0.0), (EOS, 0.0), (SPACE, -2.0)]
    backend = Tokenizer(models.Unigram([*pieces, *((x, -3.0) for x in letters)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return _finish(backend, None, EOS, UNKNOWN)


MAKERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte level": make_byte_level,
    "byte level with BOS": make_byte_level_with_bos,
    "llama": make_llama_like,
    "metaspace always": partial(make_metaspace, "always"),
    "metaspace first": partial(make_metaspace, "first"),
    "metaspace never": partial(make_metaspace, "never"),
    "unigram": make_unigram,
}


def _train(backend: Tokenizer) -> None:
    trainer = BpeTrainer(vocab_size=200, special_tokens=[UNKNOWN, BOS, EOS], show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)


def _finish(
    backend: Tokenizer, bos: str | None, eos: str, unknown: str | None
) -> PreTrainedTokenizerFast:
    if bos is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=eos,
        **{k: v for k, v in (("bos_token", bos), ("unk_token", unknown)) if v is not None},
        clean_up_tokenization_spaces=False,
    )
