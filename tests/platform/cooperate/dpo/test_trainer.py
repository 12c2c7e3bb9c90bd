"""The DPO trainer: it learns, reports, resumes exactly and refuses what cannot work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parley.platform.cooperate.dpo.batches import plan_steps
from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.token_pairs import PairDataError, TokenPairs
from parley.platform.cooperate.dpo.trainer import SharedPromptDPOTrainer, build_trainer
from parley.platform.cooperate.evaluation.preference_accuracy import PairLogProbs
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.errors import InputError
from parley.platform.runs.state_tree import load_tree, save_tree
from tests.platform.cooperate.dpo_fixtures import (
    CPU,
    make_config,
    make_model,
    make_pairs,
    make_tokenizer,
)

Row = dict[str, float]
NUM_PAIRS, BATCH = 40, 16
SETTINGS: dict[str, Any] = {"batch_size": BATCH, "num_epochs": 3, "warmup_steps": 2}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "in parts": {"device_batch_size": 4},
    "adapters with dropout": {"rank": 4, "dropout": 0.2},
    "bf16": {"precision": "bf16"},
    "recomputed activations": {"gradient_checkpointing": True},
}


@pytest.fixture(scope="module")
def pairs() -> TokenPairs:
    plain = make_pairs(NUM_PAIRS)
    return plain.with_reference(response_log_probs(make_model("gpt2"), plain))


def make_trainer(pairs: TokenPairs, **settings: Any) -> SharedPromptDPOTrainer:
    config = make_config(**{**SETTINGS, **settings})
    return build_trainer(make_model("gpt2"), make_tokenizer(), pairs, config, CPU)


def run(
    trainer: SharedPromptDPOTrainer, stop: Callable[[Row], bool] = lambda row: False
) -> list[Row]:
    rows: list[Row] = []

    def report(row: Row) -> bool:
        rows.append(row)
        return stop(row)

    trainer.run(report, interval_steps=2)
    return rows


def weights(trainer: SharedPromptDPOTrainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.policy.named_parameters()}


def test_it_learns_to_prefer_the_chosen(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs, num_epochs=8, learning_rate=3e-3)
    rows = run(trainer)
    tuned = response_log_probs(trainer.policy, pairs)
    assert pairs.reference is not None
    margins = np.diff(tuned - pairs.reference, axis=1)[:, 0] * -1.0
    assert (margins > 0).mean() > 0.95
    assert rows[-1]["loss"] < 0.5 < rows[0]["loss"]


def test_rows_tell_chosen_and_rejected_apart(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs)
    rows = run(trainer)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 9]
    assert trainer.total_steps == 9
    first, last = rows[0], rows[-1]
    assert first["loss"] == pytest.approx(np.log(2.0), abs=0.1)
    assert last["epoch"] == 3.0
    assert last["margin"] == pytest.approx(last["reward_chosen"] - last["reward_rejected"])
    for side in ("chosen", "rejected"):
        ratio = last[f"reward_{side}"] / trainer.dpo.beta / last[f"response_tokens_{side}"]
        assert last[f"log_ratio_{side}"] == pytest.approx(ratio)
        assert last[f"log_prob_{side}"] < 0.0
    assert 0.0 <= last["accuracy"] <= 1.0
    assert {"entropy", "grad_norm", "learning_rate", "pairs_per_s"} <= last.keys()
    assert all(np.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize("parts", [{}, {"device_batch_size": 4}])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_a_name_means_the_same_in_training_and_on_held_out_pairs(
    parts: dict[str, int], label_smoothing: float, pairs: TokenPairs
) -> None:
    """One step over all pairs that changes nothing: training tells what a measure tells."""
    shifted = pairs.with_reference(0.9 * response_log_probs(make_model("gpt2"), pairs))
    trainer = make_trainer(
        shifted,
        **parts,
        num_epochs=1,
        batch_size=NUM_PAIRS,
        warmup_steps=0,
        learning_rate=1e-12,
        label_smoothing=label_smoothing,
        chosen_nll_weight=0.7,
    )
    (row,) = run(trainer)
    assert shifted.reference is not None
    tuned = response_log_probs(trainer.policy, shifted)
    held_out = PairLogProbs(tuned, shifted.reference, shifted.response_lengths).losses(trainer.dpo)
    assert row["loss"] == pytest.approx(held_out["eval_loss"], abs=1e-5)
    # The mean over the tokens of a part, then over parts, is not quite that over all tokens.
    tolerance = 0.05 if parts else 1e-4
    assert row["chosen_nll"] == pytest.approx(held_out["eval_chosen_nll"], rel=tolerance)
    assert row["objective"] == pytest.approx(row["loss"] + 0.7 * row["chosen_nll"], rel=1e-5)
    assert held_out["eval_objective"] == pytest.approx(
        held_out["eval_loss"] + 0.7 * held_out["eval_chosen_nll"]
    )
    assert abs(row["loss"] - np.log(2.0)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_as_the_uninterrupted_one(
    kind: str, pairs: TokenPairs, tmp_path: Path
) -> None:
    whole = make_trainer(pairs, **KINDS[kind])
    rows = run(whole)
    first = make_trainer(pairs, **KINDS[kind])
    assert run(first, stop=lambda row: row["step"] == 4)[-1]["step"] == 4
    save_tree(first.state_for_resume(), tmp_path / "state")
    second = make_trainer(pairs, **KINDS[kind])
    second.restore(load_tree(tmp_path / "state"))
    resumed = run(second)
    expected, found = weights(whole), weights(second)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for row, again in zip(rows[2:], resumed, strict=True):
        assert {**again, "pairs_per_s": 0.0} == {**row, "pairs_per_s": 0.0}


def test_a_finished_run_has_nothing_left(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs)
    run(trainer)
    again = make_trainer(pairs)
    again.restore(trainer.state_for_resume())
    assert run(again) == []
    assert again.num_steps == 9


def test_a_restored_run_takes_the_new_settings(pairs: TokenPairs) -> None:
    first = make_trainer(pairs, schedule="constant")
    run(first, stop=lambda row: row["step"] == 4)
    second = make_trainer(pairs, schedule="constant", learning_rate=5e-3, beta=0.5)
    second.restore(first.state_for_resume())
    assert run(second)[0]["learning_rate"] == pytest.approx(5e-3)
    assert second.beta == 0.5


def test_parts_of_a_step_add_up_to_it(pairs: TokenPairs) -> None:
    # 40 pairs leave a last step of 8, which makes parts of 5 and 3.
    whole, parts = make_trainer(pairs), make_trainer(pairs, batch_size=16, device_batch_size=8)
    run(whole)
    run(parts)
    # Not the weights: Adam makes steps of the rounding errors of gradients that are zero.
    expected, found = (response_log_probs(t.policy, pairs) for t in (whole, parts))
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-3)


def test_a_step_learns_from_the_pairs_of_its_plan(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs, num_epochs=2)
    loader = trainer.get_train_dataloader()
    assert len(loader) == len(list(loader)) == 6
    trainer.num_steps = 4
    assert len(trainer.get_train_dataloader()) == 2
    part = next(iter(trainer.get_train_dataloader()))["parts"][0]
    step = plan_steps(pairs, BATCH, trainer.seed, epoch=1)[1]
    assert pairs.reference is not None
    found = part["trl"]["ref_chosen_logps"].numpy()
    np.testing.assert_allclose(found, pairs.reference[step, 0], rtol=1e-6)


def test_adapters_leave_the_model_alone(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs, rank=4)
    run(trainer)
    base = make_model("gpt2").state_dict()
    merged = trainer.merged_policy().state_dict()
    assert merged.keys() == base.keys()
    moved = [name for name in base if not torch.equal(merged[name], base[name])]
    assert moved
    assert all(".h." in name for name in moved)
    tuned = response_log_probs(trainer.merged_policy(), pairs)
    np.testing.assert_allclose(tuned, response_log_probs(trainer.policy, pairs), atol=1e-4)
    assert set(trainer.state_for_resume()["weights"]) == {
        name for name in weights(trainer) if "lora" in name
    }


@pytest.mark.parametrize("rank", [0, 4])
def test_the_model_is_bare_between_steps_of_mixed_precision(rank: int, pairs: TokenPairs) -> None:
    """Whoever measures it then finds no `forward` that computes in another number format."""
    trainer = make_trainer(pairs, precision="bf16", rank=rank)
    seen: list[torch.Tensor] = []

    def report(row: Row) -> bool:
        assert "forward" not in vars(trainer.policy)
        with torch.no_grad():
            seen.append(trainer.policy(input_ids=torch.tensor([[5, 6, 7]])).logits)
            merged = trainer.merged_policy().eval()
            torch.testing.assert_close(merged(torch.tensor([[5, 6, 7]])).logits, seen[-1])
        return False

    trainer.run(report, interval_steps=2)
    assert len(seen) == 5
    assert {logits.dtype for logits in seen} == {torch.float32}
    rounded = [logits.bfloat16().float().equal(logits) for logits in seen]
    assert not any(rounded)  # float32 throughout, not widened from bf16


def test_without_adapters_the_policy_is_the_model(pairs: TokenPairs) -> None:
    trainer = make_trainer(pairs)
    assert trainer.merged_policy() is trainer.policy


@pytest.mark.parametrize("rank", [0, 4])
def test_a_loss_that_is_not_a_number_names_its_step(rank: int, pairs: TokenPairs) -> None:
    assert pairs.reference is not None
    broken = pairs.reference.copy()
    broken[plan_steps(pairs, BATCH, 0, 0)[1][0]] = np.nan
    trainer = make_trainer(pairs.with_reference(broken), rank=rank)
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at gradient step 2; lower"):
        run(trainer)


def test_a_gradient_that_is_not_a_number_is_not_learned_from(
    pairs: TokenPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(pairs)
    before = weights(trainer)
    trainer.policy.get_parameter("transformer.ln_f.bias").register_hook(
        lambda grad: grad * float("inf")
    )
    with pytest.raises(NonFiniteLossError, match=r"gradient's length is .* at gradient step 1"):
        run(trainer)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(trainer).items())


def test_wrong_input_is_refused(pairs: TokenPairs) -> None:
    with pytest.raises(InputError, match=r"dpo\.warmup_steps = 9, but 40 pairs make 9 .* most 4"):
        make_trainer(pairs, warmup_steps=9)
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        make_trainer(pairs, precision="fp16")
    with pytest.raises(PairDataError, match="no reference"):
        make_trainer(replace(pairs, reference=None))
    state = make_trainer(pairs).state_for_resume()
    with pytest.raises(PairDataError, match="not those of the checkpoint"):
        make_trainer(replace(pairs, fingerprint="other")).restore(state)
    with pytest.raises(InputError, match="another model, or of other adapters"):
        make_trainer(pairs, rank=2).restore(state)


def test_models_that_share_nothing_learn_too() -> None:
    from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
    from parley.policies.dhmm_gpt2.model import DHMMGPT2ForCausalLM

    torch.manual_seed(0)
    config = DHMMGPT2Config(
        vocab_size=300, embed_size=32, layers=1, max_len=64, counter_heads=1, filter_heads=1
    )
    model, plain = DHMMGPT2ForCausalLM(config), make_pairs(NUM_PAIRS)
    known = plain.with_reference(response_log_probs(model, plain))
    trainer = build_trainer(model, make_tokenizer(), known, make_config(**SETTINGS), CPU)
    assert not trainer.forward.shares_prompts
    rows = run(trainer)
    assert rows[-1]["loss"] < rows[0]["loss"]
