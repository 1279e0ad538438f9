"""A linear map along one axis: the product with the full matrix, one entry after the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def axis_map(
    x: Array, axis: int, starts: Array, indices: Array, weights: Array | None = None
) -> Array:
    """out[.., o, ..] = sum of weights[k] * x[.., indices[k], ..], k = starts[o] .. starts[o + 1]"""
    lines = np.moveaxis(x, axis, 0)
    out = np.zeros((len(starts) - 1, *lines.shape[1:]), x.dtype)
    for o in range(len(out)):
        for k in range(starts[o], starts[o + 1]):
            out[o] += lines[indices[k]] * (1 if weights is None else weights[k])
    return np.moveaxis(out, 0, axis)
