"""The state of incremental decoding: the keys and values of attention, and the carried beliefs."""

from __future__ import annotations

from typing import Any

from torch import LongTensor, Tensor
from transformers import DynamicCache


class DHMMGPT2Cache(DynamicCache):
    """A growing key-value cache next to one belief [B, heads, S] per filter layer.

    Attributes:
        beliefs: layer index to the belief after the last cached token.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.beliefs: dict[int, Tensor] = {}

    @property
    def is_croppable(self) -> bool:
        """False once beliefs are held: a belief cannot be taken back to an earlier token."""
        return not self.beliefs and bool(super().is_croppable)

    def crop(self, tokens_to_remove: int) -> None:
        """Remove tokens from the end; possible only while no belief is held.

        Raises:
            ValueError: there are tokens to remove and beliefs that have seen them.
        """
        if tokens_to_remove and self.beliefs:
            raise ValueError(
                f"cannot crop {abs(tokens_to_remove)} tokens: the beliefs of layers "
                f"{sorted(self.beliefs)} have already absorbed them; decode again from the start"
            )
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.beliefs.clear()

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Keep row beam_idx[i] in row i, as beam search asks."""
        super().reorder_cache(beam_idx)
        self._map_beliefs(lambda belief: belief.index_select(0, beam_idx.to(belief.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times, in place."""
        super().batch_repeat_interleave(repeats)
        self._map_beliefs(lambda belief: belief.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows `indices`."""
        super().batch_select_indices(indices)
        self._map_beliefs(lambda belief: belief[indices])

    def _map_beliefs(self, change: Any) -> None:
        self.beliefs = {layer: change(belief) for layer, belief in self.beliefs.items()}
