"""Rotary positions: queries and keys are turned by angles that grow with their position.

What attention sees of two places is then the distance between them (Su et al. 2021, "RoFormer",
arXiv:2104.09864, equations 13 to 15 and 34).
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0
"""Of the geometric row of wavelengths, as in the paper."""


def rotation_of(position_ids: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """The cosines and sines of all angles.

    Args:
        position_ids: int64 [B or 1, T].
        width: even width W of one attention head.
        dtype: of the result.

    Returns:
        [2, B or 1, 1, T, W]: cosines, then sines with the sign of the first half turned.
    """
    half = width // 2
    exponents = torch.arange(half, device=position_ids.device, dtype=torch.float32) / half
    angles = position_ids.unsqueeze(-1).float() * BASE**-exponents  # [B, T, W / 2]
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack([torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)])
    return table.unsqueeze(2).to(dtype)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Queries or keys [B, heads, T, W], turned."""
    cos, sin = rotation
    return heads * cos + heads.roll(heads.shape[-1] // 2, dims=-1) * sin
