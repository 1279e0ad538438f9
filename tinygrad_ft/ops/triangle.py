"""Diagonals and triangles of matrices."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import normalize_dim
from tinygrad_ft.ops.cast import clone
from tinygrad_ft.ops.selection import where
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Diagonal(Function):
    """out[i] = x[i, i + offset];  grad_x = zeros with grad_out on the diagonal

    A view; the diagonal is the last dimension.
    """

    view = True

    def forward(self, x: np.ndarray, *, offset: int, dims: tuple[int, int]) -> np.ndarray:
        self.shape, self.offset, self.dims = x.shape, offset, dims
        return _diagonal(x, offset, dims)

    def backward(self, grad_out: Tensor) -> Grads:
        return (PutDiagonal.apply(grad_out, shape=self.shape, offset=self.offset, dims=self.dims),)


class PutDiagonal(Function):
    """out = zeros with x on the diagonal;  grad_x[i] = grad_out[i, i + offset]"""

    def forward(
        self, x: np.ndarray, *, shape: tuple[int, ...], offset: int, dims: tuple[int, int]
    ) -> np.ndarray:
        self.offset, self.dims = offset, dims
        out = np.zeros(shape, x.dtype)
        _diagonal(out, offset, dims)[...] = x
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (Diagonal.apply(grad_out, offset=self.offset, dims=self.dims),)


def _diagonal(x: np.ndarray, offset: int, dims: tuple[int, int]) -> np.ndarray:
    """A view of the diagonal, writeable if x is: NumPy's own never is."""
    out = np.diagonal(x, offset, *dims)
    out.flags.writeable = x.flags.writeable
    return out


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the matrices in two dimensions, as the last dimension; a view.

    `offset` > 0 lies above the main diagonal, < 0 below.
    """
    if input.ndim < 2:
        raise ValueError(f"diagonal: needs at least two dimensions, got shape {input.shape}")
    first, second = (normalize_dim("diagonal", d, input.ndim) for d in (dim1, dim2))
    if first == second:
        raise ValueError(f"diagonal: dim1 and dim2 are both {first}")
    return Diagonal.apply(input, offset=int(offset), dims=(first, second))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with a vector on its diagonal, or the diagonal of a matrix, copied.

    out[i, i + diagonal] = x[i]
    grad_x[i] = grad_out[i, i + diagonal]
    """
    offset = int(diagonal)
    if input.ndim == 1:
        side = len(input) + abs(offset)
        return PutDiagonal.apply(input, shape=(side, side), offset=offset, dims=(0, 1))
    if input.ndim != 2:
        raise ValueError(f"diag: needs a vector or a matrix, got shape {input.shape}")
    return clone(Diagonal.apply(input, offset=offset, dims=(0, 1)))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions' lower triangle, up to and with a diagonal; 0 above.

    out[i, j] = x[i, j] where j <= i + diagonal, else 0
    grad_x[i, j] = grad_out[i, j] where j <= i + diagonal, else 0
    """
    lower = _lower("tril", input, int(diagonal))
    # False is 0 in every dtype
    return where(lower, input, False)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions' upper triangle, from a diagonal on; 0 below.

    out[i, j] = x[i, j] where j >= i + diagonal, else 0
    grad_x[i, j] = grad_out[i, j] where j >= i + diagonal, else 0
    """
    below = _lower("triu", input, int(diagonal) - 1)
    return where(below, False, input)


def _lower(op: str, x: Tensor, diagonal: int) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{op}: needs at least two dimensions, got shape {x.shape}")
    return Tensor._wrap(np.tri(x.shape[-2], x.shape[-1], diagonal, dtype=np.bool_))
