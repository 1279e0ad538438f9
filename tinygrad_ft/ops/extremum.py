"""Extremes and the middle: amax, amin, max, min, argmax, argmin, median.

A NaN is taken for larger than every number by a maximum and for smaller by a minimum, so it wins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, normalize_dim
from tinygrad_ft.ops.index import take_along_dim
from tinygrad_ft.ops.reduce import Dims, count, kept_shape, reduced_dims
from tinygrad_ft.ops.selection import maximum, minimum
from tinygrad_ft.ops.shape import reshape, squeeze
from tinygrad_ft.tensor import Tensor, TensorLike


class ValuesIndices(NamedTuple):
    """What `max`, `min` and `median` with a `dim`, `sort` and `topk` give."""

    values: Tensor
    indices: Tensor


class Amax(Function):
    """out = max_i x[i];  grad_x[i] = grad_out / n where x[i] = out, else 0

    n elements attain the maximum and share the gradient equally.
    """

    choose: Any = staticmethod(np.max)

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.kept = kept_shape(x.shape, dims)
        self.dims = dims
        out = self.choose(x, axis=dims)
        # where there is a NaN, it is the extreme
        self.save_constant("attains", (x == np.reshape(out, self.kept)) | (x != x))
        return out

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        attains = self.constant("attains")
        share = attains / np.maximum(attains.sum(axis=self.dims, keepdims=True), 1)
        weights = Tensor._wrap(share.astype(grad_out.dtype))
        return (reshape(grad_out, self.kept) * weights,)


class Amin(Amax):
    """out = min_i x[i];  grad_x[i] = grad_out / n where x[i] = out, else 0

    n elements attain the minimum and share the gradient equally.
    """

    choose = staticmethod(np.min)


class Median(Amax):
    """out = the median of x;  grad_x[i] = grad_out / n where x[i] = out, else 0

    n elements have the value of the median and share the gradient equally.
    """

    @staticmethod
    def choose(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
        flat = np.sort(x, axis=None)
        return flat[_middle(flat)]


def amax(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The maximum over any dimensions; equal maxima share the gradient."""
    return extremum(Amax, "amax", input, dim, keepdim)


def amin(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The minimum over any dimensions; equal minima share the gradient."""
    return extremum(Amin, "amin", input, dim, keepdim)


def max(
    input: TensorLike,
    dim: int | Tensor | np.ndarray | None = None,
    keepdim: bool = False,
    *,
    other: TensorLike | None = None,
) -> Any:
    """The maximum, in PyTorch's three forms.

    `max(x)` is that of all elements, as `amax`. `max(x, dim)` gives a named pair (values, indices)
    along one dimension, and the first of equal maxima has the gradient. `max(x, other)` with a
    second tensor is `maximum`.

    out = max_i x[i]
    grad_x[i] = grad_out where i = argmax_j x[j], else 0
    """
    second = dim if isinstance(dim, Tensor | np.ndarray) else other
    if second is not None:
        return maximum(input, second)
    if dim is None:
        return extremum(Amax, "max", input, None, False)
    return _with_indices(np.argmax, "max", input, dim, keepdim)


def min(
    input: TensorLike,
    dim: int | Tensor | np.ndarray | None = None,
    keepdim: bool = False,
    *,
    other: TensorLike | None = None,
) -> Any:
    """The minimum, in PyTorch's three forms, which `max` describes.

    out = min_i x[i]
    grad_x[i] = grad_out where i = argmin_j x[j], else 0
    """
    second = dim if isinstance(dim, Tensor | np.ndarray) else other
    if second is not None:
        return minimum(input, second)
    if dim is None:
        return extremum(Amin, "min", input, None, False)
    return _with_indices(np.argmin, "min", input, dim, keepdim)


def argmax(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first maximum along `dim`, or in the flattened tensor.

    out = argmax_i x[i]
    """
    return _argument(np.argmax, "argmax", input, dim, keepdim)


def argmin(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first minimum along `dim`, or in the flattened tensor.

    out = argmin_i x[i]
    """
    return _argument(np.argmin, "argmin", input, dim, keepdim)


def median(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle value of all, or with `dim` (values, indices): of two middle ones the smaller.

    A NaN is the median wherever there is one. Of all elements, those that equal the median share
    the gradient; along `dim` the one that is indexed has it.
    """
    if dim is None:
        return extremum(Median, "median", input, None, False)
    return _with_indices(_middle_along, "median", input, dim, keepdim)


# ---- shared --------------------------------------------------------------------------------------


def extremum(op: type[Amax], name: str, input: TensorLike, dim: Dims, keepdim: bool) -> Tensor:
    """The op over `dim`; ValueError if there is nothing to choose from."""
    x = as_tensor(input)
    dims = reduced_dims(name, dim, x.ndim)
    if count(x, dims) == 0:
        raise ValueError(f"{name}: no element along dim {dim} of shape {x.shape}")
    out = op.apply(x, dims=dims)
    return reshape(out, kept_shape(x.shape, dims)) if keepdim else out


def pick(x: Tensor, indices: np.ndarray, dim: int) -> ValuesIndices:
    """The elements at these places along `dim`, and the places."""
    places = Tensor._wrap(np.asarray(indices, np.int64))
    return ValuesIndices(take_along_dim(x, places, dim), places)


def _with_indices(
    function: Any, name: str, input: TensorLike, dim: Any, keepdim: bool
) -> ValuesIndices:
    x = as_tensor(input)
    values, indices = pick(x, _argument(function, name, x, dim, True)._data, dim)
    if keepdim:
        return ValuesIndices(values, indices)
    return ValuesIndices(squeeze(values, dim), squeeze(indices, dim))


def _argument(
    function: Any, name: str, input: TensorLike, dim: int | None, keepdim: bool
) -> Tensor:
    x = as_tensor(input)
    axis = None if dim is None else normalize_dim(name, dim, x.ndim)
    if (x.numel() if axis is None else x.shape[axis] if x.ndim else 1) == 0:
        raise ValueError(f"{name}: no element along dim {dim} of shape {x.shape}")
    if x.ndim == 0:
        return Tensor._wrap(np.asarray(0, np.int64))
    return Tensor._wrap(function(x._data, axis=axis, keepdims=keepdim).astype(np.int64))


def _middle_along(x: np.ndarray, axis: int, keepdims: bool) -> np.ndarray:
    order = np.argsort(x, axis=axis, kind="stable")
    ordered = np.moveaxis(np.take_along_axis(x, order, axis), axis, 0)
    places = np.expand_dims(_middle(ordered), axis)
    return np.take_along_axis(order, places, axis)


def _middle(ordered: np.ndarray) -> Any:
    """Where the median is in numbers that ascend along the first axis."""
    # sorting puts NaN at the end
    numbers = np.sum(ordered == ordered, axis=0)
    return np.where(numbers < len(ordered), numbers, (len(ordered) - 1) // 2)
