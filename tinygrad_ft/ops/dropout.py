"""Dropout."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.ops.activation import mask
from tinygrad_ft.random import generator
from tinygrad_ft.tensor import Tensor


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """out = x / (1 - p) with probability 1 - p, else 0;  grad_x = grad_out / (1 - p) where kept

    Each element is drawn on its own from `tinygrad_ft.random`. The identity unless `training`.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability, got {p}")
    if not training or p == 0:
        return input
    kept = generator().random(input.shape, dtype=np.float32) >= p
    return mask(input, kept, 0.0 if p == 1 else 1 / (1 - p))
