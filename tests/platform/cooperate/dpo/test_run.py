"""DPO runs from start to end: figures, files, Ctrl-C, resumption, evaluation, wrong input."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from parley.platform.cli import main
from parley.platform.commands.running import train_experiment
from parley.platform.cooperate.dpo.preparation import prepare
from parley.platform.cooperate.dpo.run import DPORun
from parley.platform.cooperate.dpo.token_pairs import PairDataError
from parley.platform.cooperate.evaluation.generation import Decoding, encode_fitting, generate
from parley.platform.cooperate.evaluation.generator_checkpoint import GENERATOR, REFERENCE
from parley.platform.cooperate.evaluation.questions import choose_questions
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.maxims.pairs.named_pairs import load_pairs
from parley.platform.runs import resumable_tasks
from parley.platform.runs.checkpoints import resolve_checkpoint
from parley.platform.runs.pinned_inputs import INPUTS_FILE
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Progress
from parley.policies.dialogue.loading import load_language_model
from tests.platform.cooperate.dpo.run_fixtures import (
    OVERRIDES,
    figures,
    settings,
    train,
    weights,
)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, quick_model_folder: Path, classifier_folder: Path
) -> Path:
    folder = tmp_path_factory.mktemp("dpo") / "run"
    train(settings(quick_model_folder, classifier_folder), folder)
    return folder


def test_a_run_measures_held_out_conversations_and_keeps_its_best_generator(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    metrics = result["metrics"]
    assert result["status"] == "done"
    for name in ("preference_accuracy", "cooperative_rate", "cooperative_rate_untuned"):
        low, high = metrics[f"{name}_ci95"]
        assert 0.0 <= low <= metrics[name] <= high <= 1.0
    assert set(metrics["violation_rate_by_maxim"]) == {"quantity", "quality", "relation", "manner"}
    rows = figures(finished)
    best = max(rows, key=lambda row: row["score"])
    assert result["checkpoint"] == f"checkpoints/iteration_{best['iteration']:06d}"
    assert rows[-1]["preference_accuracy"] > 0.6
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_checkpoint_holds_generator_and_reference_as_transformers_folders(finished: Path) -> None:
    folders = resolve_checkpoint(finished).policy_folders
    assert set(folders) == {GENERATOR, REFERENCE}
    tuned, reference = (load_language_model(folders[n]).model for n in (GENERATOR, REFERENCE))
    changed = [
        not torch.equal(a, b)
        for a, b in zip(tuned.parameters(), reference.parameters(), strict=True)
    ]
    assert all(changed)
    linked = folders[REFERENCE] / "model.safetensors"
    assert os.path.samefile(linked, finished / REFERENCE / "model.safetensors")


def test_the_divergence_is_measured_on_the_generators_own_samples(
    finished: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    config = settings(quick_model_folder, classifier_folder)
    rows = figures(finished)
    assert rows[-1]["kl"] > rows[0]["kl"] > 0.0
    folders = resolve_checkpoint(
        finished / f"checkpoints/iteration_{rows[-1]['iteration']:06d}"
    ).policy_folders
    tuned, reference = (load_language_model(folders[name]) for name in (GENERATOR, REFERENCE))
    heldout = load_pairs(config.data, config.seed).heldout
    prompts = choose_questions(heldout, config.evaluation.prompts, config.evaluation.seed).prompts
    plain = Decoding("sample", config.generation.max_new_tokens, temperature=1.0, top_p=1.0)
    drawn = generate(tuned, prompts, plain, config.evaluation.seed)
    divergences: list[float] = []
    for prompt, (response,) in zip(encode_fitting(tuned, prompts, plain), drawn, strict=True):
        said = [*response.tokens.tolist(), tuned.end_token][: plain.max_new_tokens]
        ids = torch.tensor([prompt + said])
        with torch.inference_mode():
            own, base = (
                torch.log_softmax(m.model(input_ids=ids).logits[0, len(prompt) - 1 : -1], -1)
                for m in (tuned, reference)
            )
        divergences += (own.exp() * (own - base)).sum(-1).tolist()
    assert rows[-1]["kl"] == pytest.approx(np.mean(divergences), abs=1e-5)


def test_a_stopped_run_resumes_to_the_same_weights_and_figures(
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = settings(quick_model_folder, classifier_folder)
    folder = tmp_path / "run"
    report = DPORun._report

    def stop_early(self: DPORun, row: Mapping[str, object], save: Any) -> bool:
        go_on = report(self, row, save)
        os.kill(os.getpid(), signal.SIGINT)
        return go_on and not self.stop.received

    with monkeypatch.context() as patch:
        patch.setattr(DPORun, "_report", stop_early)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
    assert json.loads((folder / "result.json").read_text())["status"] == "stopped"
    assert len(figures(folder)) == 1
    train(config, folder, resume=True)
    assert figures(folder) == figures(finished)
    resumed, whole = weights(folder), weights(finished)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_another_tokenizer_is_refused_on_resume(
    finished: Path, quick_model_folder: Path, classifier_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    tokenizer = folder / REFERENCE / "tokenizer.json"
    tokenizer.unlink()  # a hard link: the checkpoints keep theirs
    content = json.loads((finished / REFERENCE / "tokenizer.json").read_text())
    content["model"]["merges"] = content["model"]["merges"][:100]
    tokenizer.write_text(json.dumps(content))
    config = settings(quick_model_folder, classifier_folder)
    with pytest.raises(ConfigError, match=r"not as the run left it: tokenizer\.json changed"):
        train(config, folder, resume=True)
    (folder / INPUTS_FILE).unlink()  # as of an older run
    with pytest.raises(PairDataError, match="tokenizer"):
        train(config, folder, resume=True)


@pytest.mark.parametrize("torn", ["prepared.json", "prepared.safetensors"])
def test_damaged_scores_of_the_reference_are_computed_again(
    torn: str,
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    whole = (folder / torn).read_bytes()
    (folder / torn).write_bytes(whole[: len(whole) // 2])
    config, said = settings(quick_model_folder, classifier_folder), io.StringIO()
    before = prepare(config, finished, Progress((), stream=io.StringIO()))
    again = prepare(config, folder, Progress((), stream=said))
    assert "prepared.safetensors: missing or damaged" in said.getvalue()
    assert again.training.reference is not None
    assert before.training.reference is not None
    np.testing.assert_array_equal(again.training.reference, before.training.reference)
    assert (folder / torn).read_bytes() == whole
    assert not list(folder.glob(".prepared*"))


def test_scores_are_whole_or_absent(
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished / REFERENCE, folder / REFERENCE)

    def save_half(tree: Any, stem: Path) -> None:
        stem.with_suffix(".safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "the disk is full")

    config = settings(quick_model_folder, classifier_folder)
    with monkeypatch.context() as patch:
        patch.setattr(resumable_tasks, "save_tree", save_half)
        with pytest.raises(OSError, match="full"):
            prepare(config, folder, Progress((), stream=io.StringIO()))
    assert not list(folder.glob("prepared*"))
    prepare(config, folder, Progress((), stream=io.StringIO()))
    assert (folder / "prepared.json").read_bytes() == (finished / "prepared.json").read_bytes()


def test_another_judge_is_refused_on_resume(
    finished: Path, tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    folder, judge = tmp_path / "run", tmp_path / "judge"
    shutil.copytree(finished, folder)
    shutil.copytree(classifier_folder, judge)
    config = settings(quick_model_folder, judge)
    for _ in range(2):  # noted, and the same
        with RunFolder.resume(folder, config) as run_folder:
            train_experiment(config, run_folder, resume=True)
    (judge / "thresholds.json").write_text("{}")
    with (
        RunFolder.resume(folder, config) as run_folder,
        pytest.raises(ConfigError, match=r"judges\.detector = .*began with"),
    ):
        train_experiment(config, run_folder, resume=True)


def test_low_rank_adapters_are_merged_into_the_generator(
    tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    folder = tmp_path / "run"
    overrides = ("lora.rank=2", "dpo.num_epochs=1", "dpo.learning_rate=1e-2")
    train(settings(quick_model_folder, classifier_folder, *overrides), folder)
    tuned, reference = weights(folder), load_language_model(folder / REFERENCE).model
    before = reference.state_dict()
    assert set(tuned) == set(before)
    changed = {name for name in tuned if not torch.equal(tuned[name], before[name])}
    assert changed
    assert not any("wte" in name or "ln_" in name for name in changed)


@pytest.mark.parametrize("rank", [0, 2])
def test_bf16_trains_measures_and_saves_on_the_cpu(
    rank: int, tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    """What `auto` means on a GPU; all measures are made in float32."""
    folder = tmp_path / "run"
    overrides = ("dpo.precision=bf16", f"lora.rank={rank}", "dpo.num_epochs=1")
    result = train(settings(quick_model_folder, classifier_folder, *overrides), folder)
    assert result["status"] == "done"
    rows = figures(folder)
    assert rows and all(np.isfinite(row[name]) for row in rows for name in ("loss", "kl"))
    assert all(tensor.dtype == torch.float32 for tensor in weights(folder).values())


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_bf16_is_tuned_on_the_cpu(
    tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    run = tmp_path / "run"
    models = [f"model={quick_model_folder}"]
    models += [f"judges.{role}={classifier_folder}" for role in ("judge", "detector")]
    space = ["sweep.space.dpo.beta.grid=[0.1]", "sweep.space.dpo.learning_rate.grid=[1e-4]"]
    call = ["tune", "dialogue/dpo", *OVERRIDES, *models, *space, "dpo.precision=bf16"]
    assert main([*call, "dpo.num_epochs=1", "--run-dir", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["status"] == "done"


def write_model(folder: Path, tokens: Path, config: PreTrainedConfig) -> str:
    """A model of random weights with a tokenizer from elsewhere."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokens).save_pretrained(folder)
    return f"model={folder}"


SIZES: dict[str, Any] = {
    "vocab_size": 600, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": None,
}  # fmt: skip
ENCODER = RobertaConfig(**{**SIZES, "pad_token_id": 1, "max_position_embeddings": 194})
STATE: dict[str, Any] = {
    "vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 8,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, "max_position_embeddings": 192,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "override", "words"),
    [
        (
            MambaConfig(**STATE),
            "lora.rank=4",
            ["lora.rank = 4", "dt_proj, in_proj, out_proj, x_proj", "set lora.rank = 0"],
        ),
        (LlamaConfig(**SIZES), "dpo.precision=fp16", ["dpo.precision = fp16 needs a GPU"]),
        (
            LlamaConfig(**SIZES, max_position_embeddings=40),
            "generation.max_new_tokens=48",
            ["context of 40", "generation.max_new_tokens"],
        ),
        (ENCODER, "seed=1", ["RobertaForCausalLM is not causal", "is_decoder"]),
    ],
)
@pytest.mark.parametrize("command", ["train", "tune"])
def test_what_a_model_cannot_do_is_said_before_anything_is_learned(
    command: str,
    config: PreTrainedConfig,
    override: str,
    words: list[str],
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuner = "parley.platform.cooperate.dpo.preparation.FineTuner"
    monkeypatch.setattr(tuner, lambda *_: pytest.fail("it learns"))
    model = write_model(tmp_path / "model", quick_model_folder, config)
    judges = [f"judges.{role}={classifier_folder}" for role in ("judge", "detector")]
    run = tmp_path / "run"
    call = [command, "dialogue/dpo", *OVERRIDES, model, *judges, override, "--run-dir", str(run)]
    assert main(call) == 2
    error = capsys.readouterr().err
    for word in words:
        assert word in error
    assert not run.exists()


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SIZES, max_position_embeddings=192, logits_scaling=8.0),
        Gemma2Config(**SIZES, max_position_embeddings=192, head_dim=16, sliding_window=16),
        Mamba2Config(**STATE, head_dim=16, num_heads=4, n_groups=1),
    ],
)
def test_models_of_other_kinds_are_tuned_and_evaluated(
    config: PreTrainedConfig, tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    model = write_model(tmp_path / "model", quick_model_folder, config)
    overrides = (model, "data.num_generated=60", "dpo.num_epochs=1", "evaluation.interval_steps=2")
    few = ("generation.max_new_tokens=3", "evaluation.prompts=2", "evaluation.final_prompts=2",
           "supervised.warmup_steps=1", "dpo.warmup_steps=1")  # fmt: skip
    experiment = settings(quick_model_folder, classifier_folder, *overrides, *few)
    assert train(experiment, tmp_path / "run")["status"] == "done"


def test_evaluate_and_report_read_a_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(finished), "--json", str(out)]) == 0
    measured = json.loads(out.read_text())
    result = json.loads((finished / "result.json").read_text())["metrics"]
    for name in ("cooperative_rate", "preference_accuracy", "chosen_perplexity_ratio"):
        assert np.isclose(measured[name], result[name], rtol=1e-4), name
    assert main(["report", str(finished)]) == 0
    page = (finished / "report.html").read_text()
    assert "cooperative" in page


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["data=nowhere"], "nowhere"),
        (["model=./nothing"], "nothing"),
        (["dpo.warmup_steps=5000"], "dpo.warmup_steps"),
        (["judges.judge=./no-judge"], "no-judge"),
    ],
)
def test_wrong_input_is_named_and_leaves_no_run(
    overrides: list[str],
    named: str,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [
        f"model={quick_model_folder}",
        f"judges.judge={classifier_folder}",
        f"judges.detector={classifier_folder}",
    ]
    folder = tmp_path / "run"
    call = ["train", "dialogue/dpo", *OVERRIDES, *models, *overrides, "--run-dir", str(folder)]
    assert main(call) == 2
    assert named in capsys.readouterr().err
    assert not folder.exists()


def test_the_trial_stops_at_a_loss_that_is_no_number(
    tmp_path: Path, quick_model_folder: Path, classifier_folder: Path
) -> None:
    config = settings(
        quick_model_folder, classifier_folder, "dpo.learning_rate=1e6", "dpo.max_grad_norm=1e9"
    )
    with pytest.raises(NonFiniteLossError, match="learning_rate"):
        train(config, tmp_path / "run")
