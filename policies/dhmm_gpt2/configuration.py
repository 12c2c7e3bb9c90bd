"""The configuration of a DHMM-GPT2: the sizes of the GPT-2 and of the belief filters inside it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import PretrainedConfig

Positions = Literal["learned", "rotary", "none"]
POSITIONS: tuple[str, ...] = get_args(Positions)


class DHMMGPT2Config(PretrainedConfig):
    """Sizes and noise levels of a DHMM-GPT2. All arguments are keywords.

    The GPT-2:
        vocab_size: number of token ids.
        embed_size: width D of the residual stream; a multiple of `heads`.
        layers, heads, ff_hidden: number of blocks, attention heads per block, feed-forward width.
        max_len: longest sequence with learned positions: their number.
        positions: how attention knows where a token stands. "learned": an embedding of each
            position, as in GPT-2; "rotary": by distance, see `rotary.py`; "none": only by what
            the causal mask and the filters tell. `max_len` limits the first alone.
        dropout: rate on embeddings, attention weights and the writes of attention and feed-forward.
        tie_embeddings: the output projection is the token embedding.

    The belief filters (both counts 0: the plain GPT-2):
        num_states: states S per filter head, at least 2.
        counter_heads: program counters, whose transition is driven by the input.
        filter_heads: classical HMM filters: fixed transition, emission from the input.
        filter_layers: the blocks that carry a filter in front of their attention.
        mutation_rate: epsilon in [0, 1], the share of a uniform jump mixed into every transition.
        mutation_noise: sigma >= 0, scale of the Gumbel noise on the counters' transition logits
            in training; `DHMMGPT2Model.set_mutation_noise` changes it at run time.
        temperature: tau > 0, divides the transition logits.
        snap_transitions: outside training, the counters' transitions become one-hot.
        emission_clip: log emissions are clipped to plus and minus this.
        scan_chunk: time steps per chunk of the parallel scan, at least 2.

    Of a policy:
        acting: what one has to know to play with it (environment, action tokens), as plain data;
            nothing here reads it.

    Raises:
        ValueError: a value is outside its range; the message names it.
    """

    model_type = "dhmm_gpt2"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "embed_size",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "ff_hidden",
        "max_position_embeddings": "max_len",
        "n_positions": "max_len",
        "tie_word_embeddings": "tie_embeddings",
    }

    vocab_size: int = 44
    embed_size: int = 64
    layers: int = 1
    heads: int = 4
    ff_hidden: int = 256
    max_len: int = 64
    positions: Positions = "learned"
    dropout: float = 0.0
    tie_embeddings: bool = True
    num_states: int = 8
    counter_heads: int = 1
    filter_heads: int = 1
    filter_layers: tuple[int, ...] = (0,)
    mutation_rate: float = 1e-4
    mutation_noise: float = 0.0
    temperature: float = 1.0
    snap_transitions: bool = False
    emission_clip: float = 10.0
    scan_chunk: int = 16
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    acting: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.filter_layers = tuple(self.filter_layers)
        self._check_sizes()
        self._check_filter()
        super().__post_init__(**kwargs)

    @property
    def num_filter_heads(self) -> int:
        """Belief heads of both kinds in one filter."""
        return self.counter_heads + self.filter_heads

    def _check_sizes(self) -> None:
        for name in ("vocab_size", "embed_size", "layers", "heads", "ff_hidden", "max_len"):
            _check_range(name, getattr(self, name), low=1)
        if self.embed_size % self.heads:
            raise ValueError(
                f"embed_size must be a multiple of heads, got embed_size={self.embed_size} "
                f"and heads={self.heads}"
            )
        if self.positions not in POSITIONS:
            raise ValueError(
                f"positions must be one of {', '.join(POSITIONS)}, got {self.positions!r}"
            )
        if self.positions == "rotary" and self.embed_size // self.heads % 2:
            raise ValueError(
                f"rotary positions need heads of even width, got embed_size={self.embed_size} "
                f"and heads={self.heads}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def _check_filter(self) -> None:
        _check_range("num_states", self.num_states, low=2)
        _check_range("counter_heads", self.counter_heads, low=0)
        _check_range("filter_heads", self.filter_heads, low=0)
        _check_range("scan_chunk", self.scan_chunk, low=2)
        _check_range("mutation_noise", self.mutation_noise, low=0)
        if not 0.0 <= self.mutation_rate <= 1.0:
            raise ValueError(f"mutation_rate must be in [0, 1], got {self.mutation_rate}")
        for name in ("temperature", "emission_clip"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        allowed = range(self.layers)
        if len(set(self.filter_layers)) != len(self.filter_layers) or any(
            layer not in allowed for layer in self.filter_layers
        ):
            raise ValueError(
                f"filter_layers must be distinct block indices from 0 to {self.layers - 1}, "
                f"got {self.filter_layers}"
            )


def _check_range(name: str, value: float, low: int) -> None:
    if not value >= low:
        raise ValueError(f"{name} must be >= {low}, got {value}")
