"""Indexing, and its transpose: a gather's gradient is a scatter-add, and the other way round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import kernels
from kernels.workers import catch_up
from tinygrad_ft.function import Function
from tinygrad_ft.ops._indexing import (
    WHOLE,
    Parts,
    checked,
    dims_of_arrays,
    flat_positions,
    picked_shape,
    take_apart,
)
from tinygrad_ft.ops._operands import as_tensor, empty_like_layout, normalize_dim
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Slice(Function):
    """out = x[index];  grad_x = zeros with grad_out at index

    Slices, integers, `...` and None: a view.
    """

    view = True
    runs_ahead = True
    fresh_gradients = True

    def forward(self, x: np.ndarray, *, index: Parts) -> np.ndarray:
        self.index, self.shape = index, x.shape
        out = x[index]
        # one element: NumPy gives a copy of it, and a view only with an ellipsis
        return out if isinstance(out, np.ndarray) else x[(*index, ...)]

    def backward(self, grad_out: Tensor) -> Grads:
        return (PutSlice.apply(grad_out, index=self.index, shape=self.shape),)


class PutSlice(Function):
    """out = zeros with x at index;  grad_x = grad_out[index]"""

    runs_ahead = True

    def forward(self, x: np.ndarray, *, index: Parts, shape: tuple[int, ...]) -> np.ndarray:
        self.index = index
        same = x.ndim == len(shape)
        out = empty_like_layout(shape, x, later=True) if same else np.empty(shape, x.dtype)
        if same and x.ndim == 4 and all(isinstance(i, slice) for i in index):
            part = out[index]
            if min(part.strides) > 0:
                kernels.place(out, part, x)
                return out
        catch_up()
        out[...] = 0
        out[index] = x
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (Slice.apply(grad_out, index=self.index),)


class Gather(Function):
    """out[i] = x[index[i]];  grad_x[j] = sum_i grad_out[i] where index[i] = j

    `index` is what `take_apart` calls parts: slices that are whole, and arrays. A copy.
    """

    def forward(self, x: np.ndarray, *, index: Parts) -> np.ndarray:
        self.index, self.shape = index, x.shape
        return x[index]

    def backward(self, grad_out: Tensor) -> Grads:
        return (ScatterAdd.apply(grad_out, index=self.index, shape=self.shape),)


class ScatterAdd(Function):
    """out[j] = sum_i x[i] where index[i] = j;  grad_x[i] = grad_out[index[i]]"""

    def forward(self, x: np.ndarray, *, index: Parts, shape: tuple[int, ...]) -> np.ndarray:
        self.index = index
        places = flat_positions(index, shape)
        dims, first = dims_of_arrays(index)
        rest = [d for d in range(len(shape)) if d not in dims]
        # as a table: a row for each place, the dimensions without an array side by side
        front = np.moveaxis(x, range(first, first + places.ndim), range(places.ndim))
        table = front.reshape(places.size, math.prod(shape[d] for d in rest))
        sums = kernels.scatter_add_rows(
            table, places.reshape(-1), math.prod(shape[d] for d in dims)
        )
        order = dims + rest
        return sums.reshape([shape[d] for d in order]).transpose(np.argsort(order))

    def backward(self, grad_out: Tensor) -> Grads:
        return (Gather.apply(grad_out, index=self.index),)


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: slices with steps, `...`, None, integers, and arrays of integers or booleans.

    out = x[index]
    grad_x = zeros with grad_out added at index

    A view, unless there are arrays (or lists). Rules as in PyTorch; see `_indexing.py`. Steps may
    be negative. Raises IndexError.
    """
    try:
        view, parts = take_apart(index, input.shape)
        out = Slice.apply(input, index=view) if parts is None or _cuts(view) else input
    except IndexError as error:
        raise IndexError(f"index of a tensor of shape {input.shape}: {error}") from None
    return out if parts is None else Gather.apply(out, index=parts)


def place(
    op: str, array: np.ndarray, index: Any
) -> tuple[np.ndarray, Parts | None, tuple[int, ...]]:
    """Where x[index] = ... writes: a view of the array, what of it (None: all), and the shape.

    The index is checked whole before anything is written. Raises IndexError naming `op`.
    """
    try:
        view, parts = take_apart(index, array.shape)
        target = array[view]
    except IndexError as error:
        raise IndexError(f"{op}: index of a tensor of shape {array.shape}: {error}") from None
    if not isinstance(target, np.ndarray):
        target = array[(*view, ...)]
    return target, parts, target.shape if parts is None else picked_shape(parts, target.shape)


def _cuts(view: Parts) -> bool:
    return any(item != WHOLE for item in view)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` of a dimension, without that dimension; a view.

    out = x[..., index, ...]
    grad_x = zeros with grad_out at index
    """
    if input.ndim == 0:
        raise IndexError("select: a tensor without dimensions has nothing to select from")
    d = normalize_dim("select", dim, input.ndim)
    size = input.shape[d]
    if not -size <= index < size:
        raise IndexError(f"select: index {index} is out of range for dim {d} of size {size}")
    return Slice.apply(input, index=(*(WHOLE,) * d, int(index)))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` entries of a dimension from `start` on (negative: from the end); a view.

    out = x[..., start : start + length, ...]
    grad_x = zeros with grad_out at start
    """
    if input.ndim == 0:
        raise IndexError("narrow: a tensor without dimensions has nothing to narrow")
    d = normalize_dim("narrow", dim, input.ndim)
    size = input.shape[d]
    if not -size <= start <= size:
        raise IndexError(f"narrow: start {start} is out of range for dim {d} of size {size}")
    first = int(start) + size if start < 0 else int(start)
    if not 0 <= length <= size - first:
        raise ValueError(
            f"narrow: length {length} from {start} does not fit dim {d} of size {size}"
        )
    return Slice.apply(input, index=(*(WHOLE,) * d, slice(first, first + int(length))))


def take_along_dim(input: Tensor, indices: TensorLike, dim: int | None = None) -> Tensor:
    """The entries of a dimension that `indices` name, for each place in the others.

    out[i, j] = x[i, indices[i, j]]
    grad_x[i, k] = sum_j grad_out[i, j] where indices[i, j] = k

    Both have the same number of dimensions and broadcast, except along `dim`. Without a `dim` both
    are flattened first.
    """
    places = integers("take_along_dim", indices)
    if dim is None:
        return take_along_dim(input.reshape(-1), places.reshape(-1), 0)
    d = normalize_dim("take_along_dim", dim, input.ndim)
    if places.ndim != input.ndim or any(
        m != n and 1 not in (m, n)
        for i, (m, n) in enumerate(zip(places.shape, input.shape, strict=True))
        if i != d
    ):
        raise ValueError(
            f"take_along_dim: indices of shape {places.shape} do not broadcast with {input.shape} "
            f"outside dim {d}"
        )
    if input.ndim == 0:
        checked("take_along_dim", places, 1, negative=True)
        return input
    places = checked(f"take_along_dim along dim {d}", places, input.shape[d], negative=True)
    return Gather.apply(input, index=along(places, input.shape, d))


def along(places: np.ndarray, shape: tuple[int, ...], dim: int) -> Parts:
    """The index that has `places` along `dim` and counts through the other dimensions."""
    grid = list(np.ogrid[tuple(slice(n) for n in shape)])
    grid[dim] = places
    return tuple(grid)


def integers(op: str, index: TensorLike) -> np.ndarray:
    """The array behind an index; TypeError unless it has integers."""
    array = as_tensor(index)._data
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: the index must be of integers, not {array.dtype}")
    return array
