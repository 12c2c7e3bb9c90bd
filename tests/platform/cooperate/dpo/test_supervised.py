"""Supervised fine-tuning on chosen responses, the start of DPO."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.supervised import fine_tune, unique_chosen
from parley.platform.cooperate.settings import SupervisedConfig
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.errors import InputError
from parley.platform.terminal.activities import Teller, listening
from tests.platform.cooperate.dpo_fixtures import make_model, make_pairs

CONFIG = SupervisedConfig(num_epochs=6, learning_rate=3e-3, batch_size=4, warmup_steps=2)


def test_chosen_responses_become_likelier() -> None:
    model, pairs = make_model("gpt2"), make_pairs(30)
    before = response_log_probs(model, pairs)
    seen: list[list[str]] = []
    with listening(Teller(seen.append, 0.0)):
        done = fine_tune(model, pairs, CONFIG, 0)
    after = response_log_probs(model, pairs)
    per_token = (after - before)[:, 0].sum() / pairs.chosen.lengths.sum()
    assert per_token > 1.0
    assert done.last_loss < done.first_loss
    told = [line.split("  ")[1] for (line,) in seen]
    assert told == [f"{n} of {done.steps} steps" for n in range(done.steps + 1)]
    assert not model.training


def test_each_chosen_response_counts_once_for_its_prompt() -> None:
    pairs = make_pairs(30)
    unique = unique_chosen(pairs)
    keys = {(g, pairs.chosen[n].tobytes()) for n, g in enumerate(pairs.prompt_groups.tolist())}
    assert len(unique) == len(keys) < len(pairs)
    np.testing.assert_array_equal(unique.chosen.tokens, unique.rejected.tokens)


def test_first_loss_is_that_of_the_plain_formula() -> None:
    model, pairs = make_model("llama"), make_pairs(4)  # without dropout
    unique = unique_chosen(pairs)
    nats, count = 0.0, 0
    for n in range(len(unique)):
        prompt, chosen = unique.prompts[n].tolist(), unique.chosen[n].tolist()
        with torch.no_grad():
            logits = model.eval()(torch.tensor([[*prompt, *chosen]])).logits[0]
        nats += float(
            F.cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(chosen), reduction="sum")
        )
        count += len(chosen)
    done = fine_tune(model, pairs, CONFIG.model_copy(update={"batch_size": 8}), 0)
    assert done.first_loss == pytest.approx(nats / count, abs=1e-4)


def test_one_seed_gives_one_model() -> None:
    states = []
    for seed in (1, 1, 2):
        model = make_model("gpt2")
        fine_tune(model, make_pairs(30), CONFIG, seed)
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_no_pass_changes_nothing() -> None:
    model = make_model("gpt2")
    done = fine_tune(model, make_pairs(8), CONFIG.model_copy(update={"num_epochs": 0}), 0)
    assert done.steps == 0
    fresh = make_model("gpt2").state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in model.state_dict().items())


def test_wrong_settings_and_broken_models_are_told() -> None:
    with pytest.raises(InputError, match=r"supervised\.warmup_steps = 50, but \d+ chosen"):
        fine_tune(
            make_model("gpt2"), make_pairs(8), CONFIG.model_copy(update={"warmup_steps": 50}), 0
        )
    model = make_model("gpt2")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="step 1 of supervised fine-tuning"):
        fine_tune(model, make_pairs(8), CONFIG, 0)
