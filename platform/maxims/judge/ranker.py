"""Scores how well a reply fits its context: the logarithm of how much likelier it is there.

Trained to tell a true reply from replies of other conversations, the score tends to the pointwise
mutual information log p(reply | context) / p(reply) (van den Oord et al. 2018, "Representation
learning with contrastive predictive coding", equation 3). A reply that fits every context has none.

Two views of a pair: the vectors of whole turns, one map for every lag of the context, and the
tokens: every token of the reply looks for its nearest one in the context (Khattab and Zaharia 2020,
"ColBERT", equation 3), weighted by how much it says. A small network joins both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_LAGS = 3
"""Turns of the context that are read, the last one first."""
MAX_COMPARED = 32
"""Tokens of a turn that are compared with those of another; its mean is over all."""
NUM_TRAITS = 8
"""What the small network is told of a turn alone."""


class Turns(NamedTuple):
    """N turns as the ranker sees them."""

    pooled: Tensor
    """[N, D]: mean of the token vectors."""
    tokens: Tensor
    """[N, L, E]: token vectors of length 1, those of the padding 0."""
    weights: Tensor
    """[N, L]: how much a token says; they sum to 1."""

    def __getitem__(self, places: Tensor) -> Turns:  # type: ignore[override]
        """The turns at `places`, an int64 tensor."""
        return Turns(self.pooled[places], self.tokens[places], self.weights[places])


class Ranker(nn.Module):
    """The learned part of the score.

    Args:
        width: D, the size of the encoder's token vectors.
        token_width: E, the size of token vectors that are compared.
        dropout: of the encoder's vectors, in training.
    """

    def __init__(self, width: int, token_width: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = dropout
        self.reply_map = nn.Linear(width, width, bias=False)
        self.lag_maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(NUM_LAGS))
        for layer in (self.reply_map, *self.lag_maps):
            nn.init.eye_(layer.weight)
        self.lag_shares = nn.Parameter(torch.tensor([1.0, 0.5, 0.3]))
        self.token_map = nn.Linear(width, token_width, bias=False)
        nn.init.orthogonal_(self.token_map.weight)
        self.token_weight = nn.Linear(width, 1)
        self.reply_traits = nn.Linear(width, NUM_TRAITS)
        self.context_traits = nn.Linear(width, NUM_TRAITS)
        num_features = 2 * (NUM_LAGS + 1)
        self.joining = nn.Sequential(
            nn.Linear(num_features + 2 * NUM_TRAITS, 48), nn.GELU(), nn.Dropout(0.1)
        )
        self.join_out = nn.Linear(48, 1)
        nn.init.zeros_(self.join_out.weight)
        self.feature_weights = nn.Parameter(torch.tensor([6.0, 2, 1, 6, 6, 2, 1, 6]))
        self.offset = nn.Parameter(torch.tensor(-6.0))

    def read(self, states: Tensor, mask: Tensor) -> Turns:
        """Turns from token vectors [N, L, D] and the mask [N, L] of real tokens."""
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        pooled = F.dropout(pooled, self.dropout, self.training)
        states, mask = states[:, :MAX_COMPARED], mask[:, :MAX_COMPARED]
        states = F.dropout(states, self.dropout / 2, self.training)
        tokens = F.normalize(self.token_map(states), dim=-1) * mask[..., None]
        weights = F.softplus(self.token_weight(states)[..., 0]) * mask
        return Turns(pooled, tokens, weights / weights.sum(1, keepdim=True).clamp_min(1e-6))

    def summarise(self, context: Turns, lags: Tensor, present: Tensor) -> Tensor:
        """[C, NUM_LAGS + 1, D]: each lag's turn as a reply to it should look, and their mixture.

        Args:
            context: the turns that `lags` counts in.
            lags: int64 [C, NUM_LAGS], the turn at each lag; any number where there is none.
            present: [C, NUM_LAGS], 1 where there is a turn.
        """
        wanted = [F.normalize(layer(context.pooled), dim=-1) for layer in self.lag_maps]
        chosen = [wanted[lag][lags[:, lag]] for lag in range(NUM_LAGS)]
        by_lag = torch.stack(chosen, 1) * present[..., None]
        mixed = F.normalize((by_lag * self.lag_shares[:, None]).sum(1, keepdim=True), dim=-1)
        return torch.cat([by_lag, mixed], 1)

    def forward(
        self,
        context: Turns,
        lags: Tensor,
        present: Tensor,
        reply: Turns,
        pairs: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The scores [P] of pairs of a context and a reply.

        Args:
            context, lags, present: C contexts, see `summarise`.
            reply: R replies.
            pairs: int64 [P] and [P], which context and which reply.
        """
        of_context, of_reply = pairs
        summary = self.summarise(context, lags, present)
        offered = F.normalize(self.reply_map(reply.pooled), dim=-1)
        whole = torch.einsum("pkd,pd->pk", summary[of_context], offered[of_reply])
        nearest = self._find_nearest(context, lags, present, reply, pairs)
        features = torch.cat([whole, nearest], 1)
        traits = torch.cat(
            [
                self.context_traits(context.pooled[lags[:, 0]])[of_context],
                self.reply_traits(reply.pooled)[of_reply],
            ],
            1,
        )
        joined: Tensor = self.join_out(self.joining(torch.cat([features, traits], 1)))[:, 0]
        return joined + (features * self.feature_weights).sum(-1) + self.offset

    def _find_nearest(
        self,
        context: Turns,
        lags: Tensor,
        present: Tensor,
        reply: Turns,
        pairs: tuple[Tensor, Tensor],
    ) -> Tensor:
        """[P, NUM_LAGS + 1]: weighted likeness of the reply's tokens to each lag's, and to all."""
        of_context, of_reply = pairs
        shown = context.tokens[lags] * present[:, :, None, None]  # [C, K, Lc, E]
        num_contexts, _, length, width = shown.shape
        shown = shown.reshape(num_contexts, NUM_LAGS * length, width)
        said = reply.tokens[of_reply]  # [P, Lr, E]
        likeness = torch.bmm(shown[of_context], said.transpose(1, 2))
        best = likeness.view(len(said), NUM_LAGS, length, -1).amax(2)  # [P, K, Lr]
        best = best.clamp_min(0)  # as next to padding, whose vectors are 0
        best = torch.cat([best, best.amax(1, keepdim=True)], 1)
        return (best * reply.weights[of_reply][:, None]).sum(-1)
