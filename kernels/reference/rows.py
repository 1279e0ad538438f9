"""Rows added into a table, by the definition."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def scatter_add_rows(x: Array, rows: Array, count: int) -> Array:
    """Each row of x is added to its row of the table."""
    out = np.zeros((count, x.shape[1]), x.dtype)
    for row, values in zip(rows, x, strict=True):
        out[row] += values
    return out
