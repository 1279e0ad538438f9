"""Matrix product, straight from the formula."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def matmul(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """out[..., i, j] = sum over k of a[..., i, k] * b[..., k, j], one k after the other."""
    out = np.zeros((*a.shape[:-1], b.shape[-1]), np.result_type(a, b))
    for k in range(a.shape[-1]):
        out += a[..., :, k, None] * b[..., None, k, :]
    return out
