"""Indexing, and its transpose: a gather's gradient is a scatter-add, and the other way round."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import empty_like_layout, normalize_dim, raw_index
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Slice(Function):
    """out = x[index] by slices and integers: a view;  grad_x = zeros with grad_out at index"""

    view = True

    def forward(self, x: np.ndarray, *, index: Any) -> np.ndarray:
        self.index, self.shape = index, x.shape
        out = x[index]
        # one element: NumPy gives a copy of it, and a view only with an ellipsis
        return out if isinstance(out, np.ndarray) else x[(*index, ...)]

    def backward(self, grad_out: Tensor) -> Grads:
        return (PutSlice.apply(grad_out, index=self.index, shape=self.shape),)


class PutSlice(Function):
    """out = zeros with x at index (slices and integers);  grad_x = grad_out[index]"""

    def forward(self, x: np.ndarray, *, index: Any, shape: tuple[int, ...]) -> np.ndarray:
        self.index = index
        out = empty_like_layout(shape, x) if x.ndim == len(shape) else np.empty(shape, x.dtype)
        out[...] = 0
        out[index] = x
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (Slice.apply(grad_out, index=self.index),)


class Gather(Function):
    """out = x[index] with index arrays: a copy;  grad_x = zeros, grad_out added at index"""

    def forward(self, x: np.ndarray, *, index: Any) -> np.ndarray:
        self.index, self.shape = index, x.shape
        return x[index]

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterAdd.apply(grad_out, index=self.index, shape=self.shape),)


class ScatterAdd(Function):
    """out = zeros, x added at index (an index met twice adds twice);  grad_x = grad_out[index]"""

    def forward(self, x: np.ndarray, *, index: Any, shape: tuple[int, ...]) -> np.ndarray:
        self.index = index
        out = np.zeros(shape, x.dtype)
        np.add.at(out, index, x)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (Gather.apply(grad_out, index=self.index),)


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index] as in NumPy: slices with steps, `...`, None, integers, index arrays, masks."""
    plain = raw_index(index)
    parts = plain if isinstance(plain, tuple) else (plain,)
    basic = all(
        p is None
        or p is Ellipsis
        or isinstance(p, slice)
        or (isinstance(p, int | np.integer) and not isinstance(p, bool))
        for p in parts
    )
    try:
        if basic:
            return Slice.apply(input, index=parts)
        # the index is copied: the caller may change it before the backward
        fixed = tuple(np.array(p) if isinstance(p, np.ndarray | list) else p for p in parts)
        return Gather.apply(input, index=fixed)
    except IndexError as error:
        raise IndexError(f"index of a tensor of shape {input.shape}: {error}") from None


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """out[i][j] = x[i][indices[i][j]] along `dim`; indices have x's shape except along `dim`."""
    d = normalize_dim("take_along_dim", dim, input.ndim)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"take_along_dim: indices must be integers, not {indices.dtype}")
    if input.ndim == 0:
        return input
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[d] = indices._data
    return getitem(input, tuple(grid))
