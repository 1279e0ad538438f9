"""Scans: the sums and products of all elements up to each one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, normalize_dim
from tinygrad_ft.ops.cast import to
from tinygrad_ft.ops.elementwise import mul
from tinygrad_ft.ops.index import getitem
from tinygrad_ft.ops.join import cat
from tinygrad_ft.ops.reduce import accumulation_dtype
from tinygrad_ft.tensor import Tensor, TensorLike


class CumSum(Function):
    """out[i] = sum_{j <= i} x[j];  grad_x[i] = sum_{j >= i} grad_out[j]

    With `backwards` the other way round, so that each is the other's gradient. Float32 is added up
    in float64: the error of a plain running sum grows with its length.
    """

    def forward(self, x: np.ndarray, *, dim: int, backwards: bool = False) -> np.ndarray:
        self.dim, self.backwards = dim, backwards
        wide = np.float64 if x.dtype.kind == "f" else x.dtype
        source = np.flip(x, dim) if backwards else x
        out = np.add.accumulate(source, axis=dim, dtype=wide).astype(x.dtype, copy=False)
        return np.flip(out, dim) if backwards else out

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return (CumSum.apply(grad_out, dim=self.dim, backwards=not self.backwards),)


def cumsum(input: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sum along `dim`; integers and booleans as int64, or all as `dtype`."""
    x, d = _operand("cumsum", input, dim, dtype)
    return CumSum.apply(x, dim=d) if x.ndim else x


def cumprod(input: TensorLike, dim: int, *, dtype: Any = None) -> Tensor:
    """The running product along `dim`; integers and booleans as int64, or all as `dtype`.

    out[i] = prod_{j <= i} x[j]
    grad_x[k] = sum_{i >= k} grad_out[i] * prod_{j <= i, j != k} x[j]

    By doubling: the products of 1, 2, 4, ... neighbours. Nothing is divided, so the gradients of
    every order are right with any number of zeros.
    """
    out, d = _operand("cumprod", input, dim, dtype)
    lead = (slice(None),) * d
    reach = 1
    while out.ndim and reach < out.shape[d]:
        start, rest = getitem(out, (*lead, slice(reach))), getitem(out, (*lead, slice(reach, None)))
        out = cat([start, mul(rest, getitem(out, (*lead, slice(-reach))))], d)
        reach *= 2
    return out


def _operand(op: str, input: TensorLike, dim: int, dtype: Any) -> tuple[Tensor, int]:
    x = as_tensor(input)
    dtype = accumulation_dtype(x.dtype) if dtype is None else dtype
    return to(x, dtype), normalize_dim(op, dim, x.ndim)
