"""Change of dtype, and copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.tensor import Scalar, Tensor


class To(Function):
    """out = x as another dtype;  grad_x = grad_out as the dtype of x"""

    def forward(self, x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return (to(grad_out, self.dtype),)


class Clone(Function):
    """out = a copy of x;  grad_x = grad_out"""

    def forward(self, x: np.ndarray, *, order: Any) -> np.ndarray:
        return x.copy(order=order)

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return (grad_out,)


def to(x: Tensor, dtype: Any) -> Tensor:
    """The values as `dtype` (bool, integer or floating); x itself if it has that dtype.

    `dtype` may be a tensor, whose dtype is meant.
    """
    dtype = dtype.dtype if isinstance(dtype, Tensor) else np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise TypeError(f"to: dtype {dtype} is not supported; use bool, integer or float")
    return x if x.dtype == dtype else To.apply(x, dtype=dtype)


def number_as(op: str, value: Scalar, dtype: np.dtype) -> np.ndarray:
    """One number as an array of `dtype`; a float for an integer loses its fraction, as in PyTorch.

    ValueError naming `op` if an integer dtype cannot hold it.
    """
    try:
        if dtype.kind in "iu" and isinstance(value, float | np.floating):
            value = int(value)
        return np.asarray(value, dtype)
    except (ValueError, OverflowError):
        raise ValueError(f"{op}: a tensor of {dtype} cannot hold {value!r}") from None


def clone(x: Tensor, *, order: str = "K") -> Tensor:
    """A copy with its own memory, still connected to the graph."""
    return Clone.apply(x, order=order)
