"""The preference pairs that an experiment names."""

from __future__ import annotations

from pathlib import Path

from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.pairs.pair import PairSplit


def load_pairs(data: PreferenceDataConfig, seed: int) -> PairSplit:
    """The pairs of `data.path`, or generated ones, which `seed` decides.

    Raises:
        InputError: the folder cannot be used.
    """
    if data.path:
        return read_pairs(Path(data.path))
    return generate_pairs(data.num_generated, seed)
