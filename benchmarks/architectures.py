"""Every causal architecture of transformers, small and random: what parley makes of it.

    python -m benchmarks.architectures                  # all of them, as a table
    python -m benchmarks.architectures gpt_neo rwkv     # some
    python -m benchmarks.architectures --docs docs/tasks/models.md

Each is built with all sizes shrunk and windows of 16 tokens, in a process of its own with a time
limit. Replies, scores, log-probabilities of preference pairs, a save and a message to another
process are then held against the model's own logits on each sequence alone. What cannot be used has
to be refused by what every command asks of a model before it starts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft  # noqa: F401  (once, before the processes part)
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from parley.platform.cooperate.dpo.forward import find_plan
from parley.platform.cooperate.dpo.rehearsal import rehearse
from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows
from parley.platform.cooperate.evaluation.beam_search import find_beam_plan
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.tokenizer import train_tokenizer
from parley.policies.dialogue.loading import (
    LanguageModel,
    load_language_model,
    save_language_model,
)
from parley.policies.dialogue.parts import build_from_parts, check_travels, take_apart
from parley.policies.dialogue.pretrained import first_line, quiet_transformers
from parley.policies.dialogue.probing import context_of
from parley.policies.dialogue.reader_choice import check_speaker
from parley.policies.dialogue.reading import CachedReader
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker

VOCAB, CONTEXT, WINDOW, END = 300, 192, 16, 0
TOLERANCE = 1e-5
"""Nats per token, or that share of the largest logit where it is above 1."""
SECONDS = 60.0
WORKS, REFUSED, UNBUILT, BROKEN = "works", "refused", "not built", "BROKEN"
MARKS = ("<!-- architectures: begin -->", "<!-- architectures: end -->")

SIZES: dict[str, int] = {
    r"vocab_size(_.*)?|.*_vocab_size": VOCAB,
    r"(decoder_|attention_)?hidden_size|d_model|n_embd|(embed_|emb_)?dim|embedding_size": 64,
    r"word_embed_proj_dim|dim_model|lru_width": 64,
    r"d_ff|n_inner|ffn_hidden_size|(.*_)?ffn_dim|dff|feed_forward_size": 96,
    r".*intermediate_size.*": 96,
    r"(num_)?(hidden_|encoder_|decoder_)?layers|n_layers?": 2,
    r"num_(encoder_|decoder_)layers": 2,
    r"(num_)?(encoder_|decoder_)?attention_heads|n_heads?|num_heads": 4,
    r"num_key_value_heads|num_kv_heads": 2,
    r".*head_dim": 16,
    r"max_position_embeddings|n_positions|context_length|seq_length|max_seq_len": CONTEXT,
    r"(moe_)?num_(local_)?experts|n_routed_experts": 4,
    r"num_experts_per_tok(en)?|moe_topk|moe_k|top_k_experts": 2,
    r"q_lora_rank|kv_lora_rank": 16,
    r"(sliding_|attention_)?window(_size)?|sliding_window_size|attention_window_size": WINDOW,
    r"(attention_|mamba_)?chunk_size|local_attention|index_topk": WINDOW,
    r"rotary_dim": 8,
}
"""Settings by their names -> the size that they are shrunk to."""

SPECIAL: dict[str, dict[str, Any]] = {
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": {"num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "ministral": {"head_dim": 16},
    "modernbert-decoder": {"pad_token_id": 0},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {
        "attn_layers": ["local", "lsh"], "axial_pos_shape": [16, 12],
        "axial_pos_embds_dim": [32, 32], "max_position_embeddings": CONTEXT,
    },
    "rwkv": {"rescale_every": 0},
}  # fmt: skip
"""What shrinking leaves inconsistent, by model type."""


@dataclass(frozen=True)
class Finding:
    """What became of an architecture."""

    model_type: str
    status: str
    """`works`, `refused`, `not built` or `BROKEN`."""
    why: str = ""
    memory: str = ""
    """Whether a dialogue is read once (`cache`) or again for every token (`reread`)."""
    prompts: str = ""
    """Whether responses of a pair share their prompt's row."""
    adapters: str = ""
    """Whether low-rank adapters can be trained."""
    error: float = 0.0
    """Largest difference of a token's log-probability, in nats."""


def shrink(model_type: str) -> PreTrainedConfig:
    """The configuration of a small model."""
    kind = CONFIG_MAPPING[model_type]
    settings = _small_sizes(kind) | SPECIAL.get(model_type, {})
    for name, part in (getattr(kind, "sub_configs", None) or {}).items():
        if part is AutoConfig:  # of any type; which one it is without more settings
            part = type(getattr(kind(), name))
        if getattr(part, "model_type", ""):
            settings[name] = _small_sizes(part) | SPECIAL.get(part.model_type, {})
    return kind(**settings)


def _small_sizes(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    known = kind().to_dict()
    settings: dict[str, Any] = {
        key: size
        for key, value in known.items()
        for pattern, size in SIZES.items()
        if type(value) is int and value > size and re.fullmatch(pattern, key)
    }
    pad = known.get("pad_token_id")
    settings |= {"bos_token_id": END, "eos_token_id": END}
    settings["pad_token_id"] = pad if type(pad) is int and 0 <= pad < VOCAB else None
    if "kv_lora_rank" in known:
        settings["num_key_value_heads"] = 4  # as many as attention has
    if not any(name in known for name in ("max_position_embeddings", "n_positions", "n_ctx")):
        settings["max_position_embeddings"] = CONTEXT  # what parley asks for
    return settings | ({"is_decoder": True} if "is_decoder" in known else {})


def examine(model_type: str) -> Finding:
    """Build a model, ask what every command asks, and hold its figures against its own logits."""
    torch.manual_seed(0)
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_config(shrink(model_type)).eval()
    except Exception as error:
        return Finding(model_type, UNBUILT, f"{type(error).__name__}: {first_line(error)}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.std() > 0:
                parameter.mul_(3.0)
    try:
        check_speaker(model)
        check_travels(model)
        context_of(model)
        plan = find_plan(model)
        find_beam_plan(model)
        rehearse(model, DialogueDPOConfig(), torch.device("cpu"))
    except ValueError as error:
        return Finding(model_type, REFUSED, str(error))
    try:
        memory, errors = _speak(model)
        errors |= {"pairs": _score_pairs(model), "message": _send(model), "file": _save(model)}
    except Exception as error:
        return Finding(model_type, BROKEN, f"{type(error).__name__}: {first_line(error)}")
    try:
        with_adapters = DialogueDPOConfig.model_validate({"lora": {"rank": 4}})
        rehearse(model, with_adapters, model.device)  # last: some may stay where it is refused
        adapters = "yes"
    except ValueError:
        adapters = "refused"
    worst = max(errors, key=lambda name: errors[name])
    prompts = "shared" if plan.shares_prompts else "apart"
    is_right = errors[worst] <= TOLERANCE * _largest_logit(model)
    why = "" if is_right else f"{worst} differ by {errors[worst]:.1e} nats"
    status = WORKS if is_right else BROKEN
    return Finding(model_type, status, why, memory, prompts, adapters, errors[worst])


@torch.no_grad()
def _log_probs(model: PreTrainedModel, tokens: np.ndarray) -> torch.Tensor:
    """What the model itself says of one sequence alone, float32 [T, V]."""
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


@torch.no_grad()
def _largest_logit(model: PreTrainedModel) -> float:
    return max(1.0, float(model(torch.arange(20)[None], use_cache=False).logits.abs().max()))


def _draw(random: np.random.Generator, length: int) -> np.ndarray:
    return np.append(random.integers(1, VOCAB - 1, length), END)


def _speak(model: PreTrainedModel) -> tuple[str, dict[str, float]]:
    """Two turns in three dialogues, with what others said scored."""
    random = np.random.default_rng(0)
    speaker = Speaker(model, END, 3, Sampling(max_reply_tokens=12))
    histories = [_draw(random, length) for length in (60, 23, 41)]
    replied = scored = 0.0
    for _ in range(2):
        replies = speaker.reply([0, 1, 2], histories, random.random((3, 12)), [10, 10, 10])
        for row, reply in enumerate(replies):
            whole = np.concatenate([histories[row], reply.tokens])
            truth, start = _log_probs(model, whole), len(histories[row])
            own = [float(truth[start - 1 + j, token]) for j, token in enumerate(reply.tokens)]
            others = [float(truth[j - 1, whole[j]]) for j in range(start - 10, start)]
            replied = max(replied, float(np.abs(reply.full_log_probs - own).max()))
            assert reply.scored is not None
            scored = max(scored, float(np.abs(reply.scored - others).max()))
            histories[row] = np.concatenate([whole, _draw(random, 7)])
    memory = "cache" if isinstance(speaker.reader, CachedReader) else "reread"
    return memory, {"replies": replied, "scores": scored}


def _score_pairs(model: PreTrainedModel) -> float:
    """Responses to prompts that are longer than any window, per token."""
    random = np.random.default_rng(1)
    prompts, chosen, rejected = (
        [_draw(random, length) for length in lengths]
        for lengths in ((50, 30, 20), (12, 7, 20), (5, 25, 9))
    )
    rows = [TokenRows.join([row.tolist() for row in part]) for part in (prompts, chosen, rejected)]
    pairs = TokenPairs(rows[0], rows[1], rows[2], ("a", "b", "c"), END, "")
    found = response_log_probs(model, pairs)
    worst = 0.0
    for pair, prompt in enumerate(prompts):
        for side, response in enumerate((chosen[pair], rejected[pair])):
            truth = _log_probs(model, np.concatenate([prompt, response]))
            places = range(len(prompt) - 1, len(prompt) + len(response) - 1)
            expected = sum(float(truth[p, t]) for p, t in zip(places, response, strict=True))
            worst = max(worst, abs(found[pair, side] - expected) / len(response))
    return worst


def _send(model: PreTrainedModel) -> float:
    parts = take_apart(model)
    return _difference(model, build_from_parts(json.loads(json.dumps(parts.config)), parts.state))


def _save(model: PreTrainedModel) -> float:
    tokenizer = train_tokenizer(["a few words to begin with"], 257, CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        saved = LanguageModel(model, tokenizer, END, CONTEXT, "")
        save_language_model(saved, folder)
        return _difference(model, load_language_model(folder).model)


def _difference(model: PreTrainedModel, other: PreTrainedModel) -> float:
    tokens = _draw(np.random.default_rng(2), 40)
    return float((_log_probs(model, tokens) - _log_probs(other, tokens)).abs().max())


def examine_apart(
    model_types: Sequence[str],
    seconds: float = SECONDS,
    task: Callable[[str], Finding] = examine,
) -> Iterator[Finding]:
    """`examine` in a process for each; one that takes longer than `seconds` is ended."""
    context = multiprocessing.get_context("fork")
    for model_type in model_types:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=lambda name, to: to.send(task(name)), args=(model_type, sender)
        )
        process.start()
        sender.close()
        if not receiver.poll(seconds):
            yield Finding(model_type, BROKEN, f"not done after {seconds:.0f} s")
            process.kill()
        else:
            try:
                yield receiver.recv()
            except EOFError:
                yield Finding(model_type, BROKEN, "its process died")
        process.join()


def format_table(findings: Sequence[Finding]) -> str:
    """The findings as Markdown: those that work by how, the others one by one with the reason."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        if finding.status == WORKS:
            key = (finding.memory, finding.prompts, finding.adapters)
            alike.setdefault(key, []).append(finding)
    lines = [
        "| memory | prompts | adapters | largest error (nats) | model types that work |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key, group in sorted(alike.items()):
        names = ", ".join(f"`{finding.model_type}`" for finding in group)
        error = max(finding.error for finding in group)
        lines.append(f"| {' | '.join(key)} | {error:.0e} | {names} |")
    lines += ["", "| model type | | why |", "| --- | --- | --- |"]
    for finding in findings:
        if finding.status != WORKS:
            why = finding.why.replace("|", "/").replace("\n", " ")
            lines.append(f"| `{finding.model_type}` | {finding.status} | {why} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine, print the table, and perhaps put it into a page; 1 where something is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", default=[*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES])
    parser.add_argument("--docs", type=Path, help="a page between whose marks the table is put")
    parser.add_argument("--json", type=Path, help="where to write the findings")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each model")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity(60)
    findings = []
    for finding in examine_apart(chosen.types, chosen.seconds):
        findings.append(finding)
        print(finding, file=sys.stderr, flush=True)
    table = format_table(findings)
    print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(f) for f in findings], indent=1) + "\n")
    if chosen.docs:
        before, _, rest = chosen.docs.read_text().partition(MARKS[0])
        chosen.docs.write_text(
            f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"
        )
    return int(any(finding.status == BROKEN for finding in findings))


if __name__ == "__main__":
    raise SystemExit(main())
