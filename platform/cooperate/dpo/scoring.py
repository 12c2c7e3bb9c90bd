"""What a model makes of given responses: log-probabilities, exact divergence on samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parley.platform.cooperate.dpo.batches import pack_pairs, plan_scoring
from parley.platform.cooperate.dpo.forward import ResponseForward
from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows
from parley.platform.records import State
from parley.platform.terminal.activities import activity, each
from parley.policies.dialogue.probing import evaluating

SCORING_TOKENS = 8_192
"""Tokens of one forward pass that measures, padding included."""


def response_log_probs(
    model: nn.Module, pairs: TokenPairs, batch_tokens: int = SCORING_TOKENS
) -> NDArray[np.float64]:
    """The log-probability of each chosen and rejected response given its prompt, float64 [N, 2].

    In the model's own number format, without dropout, rows sorted by length.
    """
    scoring = PairScoring(model, pairs, "scoring the pairs", batch_tokens)
    scoring.run()
    return scoring.log_probs


class PairScoring:
    """`response_log_probs` that can be stopped, and taken up again.

    Args:
        model: whose log-probabilities they are.
        pairs: to score.
        name: what it is called where progress is shown.
        batch_tokens: tokens of one forward pass, padding included.
    """

    is_whole = True
    """A batch that was given up left nothing behind."""

    def __init__(
        self, model: nn.Module, pairs: TokenPairs, name: str, batch_tokens: int = SCORING_TOKENS
    ) -> None:
        self.pairs = pairs
        self.log_probs = np.zeros((len(pairs), 2))
        """float64 [N, 2], as far as it is."""
        self.num_batches = 0
        """Batches of the plan that are scored."""
        self._model = model
        self._name = name
        self._plan = plan_scoring(pairs, batch_tokens)

    @property
    def is_done(self) -> bool:
        """Whether all pairs are scored."""
        return self.num_batches == len(self._plan)

    @torch.no_grad()
    def run(self, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Score what is left, until `is_stopping`; whether all is done."""
        forward = ResponseForward(self._model)
        device = next(self._model.parameters()).device
        done = sum(map(len, self._plan[: self.num_batches]))
        with (
            evaluating(self._model),
            activity(self._name, len(self.pairs), "pairs", done) as scoring,
        ):
            for chosen in self._plan[self.num_batches :]:
                if is_stopping():
                    return False
                packed = pack_pairs(self.pairs, chosen, forward.shares_prompts)
                log_probs = forward.score(packed.to(device)).log_probs.double().cpu()
                padded = torch.cat([log_probs, log_probs.new_zeros(1)])
                both = padded[packed.places].sum(1)  # [2B]
                self.log_probs[chosen] = both.view(2, -1).T.numpy()
                self.num_batches += 1
                scoring.advance(len(chosen))
        return True

    def state_for_resume(self) -> State:
        """What is scored so far, as plain values and arrays, see `state_tree`."""
        return {
            "fingerprint": self.pairs.fingerprint,
            "num_batches": self.num_batches,
            "log_probs": self.log_probs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_for_resume`, with the same model and batches.

        Raises:
            PairDataError: it belongs to other pairs or another tokenizer.
        """
        self.pairs.check_same(state["fingerprint"])
        self.num_batches = int(state.get("num_batches", len(self._plan)))
        self.log_probs = np.array(state["log_probs"])


@torch.no_grad()
def sample_kl(
    model: nn.Module,
    reference: nn.Module,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch_size: int = 16,
) -> float:
    """KL(model || reference) in nats per token, exact at every token of the given responses.

    An estimate of the divergence of the two as speakers where the responses are the model's own
    samples at temperature 1; on anybody else's text it is not one.

    Args:
        model: the policy.
        reference: of the same vocabulary.
        prompts: token ids of each prompt.
        responses: token ids of each response, end-of-text included.
        batch_size: responses compared together.

    Raises:
        ValueError: there is no response token.
    """
    rows = TokenRows.join(responses)
    if not len(rows.tokens):
        raise ValueError("no response tokens to compare on")
    ids = tuple(str(n) for n in range(len(rows)))
    pairs = TokenPairs(TokenRows.join(prompts), rows, rows, ids, end_token=0, fingerprint="")
    models = (ResponseForward(model), ResponseForward(reference))
    shared = all(forward.shares_prompts for forward in models)
    device = next(model.parameters()).device
    total = 0.0
    with evaluating(model, reference):
        for first in each(range(0, len(pairs), batch_size), "measuring KL", "batches"):
            chosen = np.arange(first, min(first + batch_size, len(pairs)))
            packed = pack_pairs(pairs, chosen, shared).to(device)
            own, base = (
                torch.log_softmax(forward.logits(packed).float(), -1) for forward in models
            )
            # No divergence is negative; rounding is.
            divergences = (own.exp() * (own - base)).sum(-1).clamp(min=0.0).double()  # [T]
            padded = torch.cat([divergences, divergences.new_zeros(1)])
            # Equal responses to a prompt are computed once and count as often as they occur.
            total += float(padded[packed.places[: len(chosen)]].sum())
    return total / len(rows.tokens)
