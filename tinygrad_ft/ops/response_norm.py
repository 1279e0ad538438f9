"""Local response normalisation."""

from __future__ import annotations

import math

from tinygrad_ft.ops.pad import pad
from tinygrad_ft.ops.pool import avg_pool2d
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide each channel of (N, C, d1, ...) by a power of the mean square of its neighbours.

    out[c] = x[c] / d[c]^beta;  d[c] = k + alpha / size * sum_i x[i]^2;
    grad_x[c] = grad_out[c] / d[c]^beta - 2 * alpha * beta / size * x[c]
    * sum_i grad_out[i] * x[i] / d[i]^(beta + 1)

    Channel c looks at c - size // 2 up to c + (size - 1) // 2; missing ones count as 0. Source:
    Krizhevsky et al. 2012. Raises ValueError for fewer than 3 dimensions or a size below 1.
    """
    if input.ndim < 3 or size < 1:
        raise ValueError(
            f"local_response_norm: needs (N, C, d1, ...) and a size of 1 or more, got "
            f"{input.shape} and size {size}"
        )
    if input.numel() == 0:
        return input
    # channels as rows of an image, so that their mean is an average pool
    rows = reshape(input * input, (input.shape[0], 1, input.shape[1], math.prod(input.shape[2:])))
    rows = pad(rows, (0, 0, size // 2, (size - 1) // 2))
    squares = reshape(avg_pool2d(rows, (size, 1), 1), input.shape)
    out: Tensor = input / (squares * alpha + k) ** beta
    return out
