"""Reductions over any dimensions: sum, mean, var, amax/amin, max/min, logsumexp, argmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand, normalize_dim, normalize_dims
from tinygrad_ft.ops.elementwise import exp, log, sqrt, where
from tinygrad_ft.ops.index import take_along_dim
from tinygrad_ft.ops.shape import broadcast_to, reshape, squeeze
from tinygrad_ft.tensor import Tensor, TensorLike

Dims = int | Sequence[int] | None


class Sum(Function):
    """out = sum of x over dims;  grad_x = grad_out broadcast to the shape of x"""

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        self.kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.int64)
        return np.add.reduce(x, axis=dims, dtype=dtype)

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(reshape(grad_out, self.kept), self.shape),)


class Amax(Function):
    """out = max of x over dims;  grad_x = grad_out shared equally by the elements that attain it"""

    choose: Any = staticmethod(np.max)

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        self.shape = x.shape
        self.dims = dims
        out = self.choose(x, axis=dims)
        self.save_constant("attains", x == np.reshape(out, self.kept))
        return out

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        attains = self.constant("attains")
        share = attains / np.maximum(attains.sum(axis=self.dims, keepdims=True), 1)
        weights = Tensor._wrap(share.astype(grad_out.dtype))
        return (reshape(grad_out, self.kept) * weights,)


class Amin(Amax):
    """out = min of x over dims;  grad_x = grad_out shared equally by the elements that attain it"""

    choose = staticmethod(np.min)


class ValuesIndices(NamedTuple):
    """What `max(dim)` and `min(dim)` give."""

    values: Tensor
    indices: Tensor


def sum(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim` (an int, several, or None for all)."""
    x = as_tensor(input)
    dims = normalize_dims("sum", dim, x.ndim)
    out = Sum.apply(x, dims=dims)
    return _keep(out, x, dims) if keepdim else out


def mean(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim`: sum / count. An integer tensor raises, as in PyTorch."""
    x = as_tensor(input)
    if x.dtype.kind != "f":
        raise TypeError(f"mean: needs a floating dtype, not {x.dtype}; convert with .float()")
    dims = normalize_dims("mean", dim, x.ndim)
    return sum(x, dims, keepdim) * _inverse(_count(x, dims))


def var(
    input: TensorLike, dim: Dims = None, *, correction: int = 1, keepdim: bool = False
) -> Tensor:
    """The variance over `dim`: sum (x - mean)^2 / (count - correction), unbiased by default."""
    x = float_operand("var", input)
    dims = normalize_dims("var", dim, x.ndim)
    centred = x - mean(x, dims, keepdim=True)
    return sum(centred * centred, dims, keepdim) * _inverse(_count(x, dims) - correction)


def std(
    input: TensorLike, dim: Dims = None, *, correction: int = 1, keepdim: bool = False
) -> Tensor:
    """The standard deviation: sqrt of `var`, with gradient 0 where that is 0, as in PyTorch."""
    variance = var(input, dim, correction=correction, keepdim=keepdim)
    flat = variance._data == 0
    return where(flat, 0.0, sqrt(where(flat, 1.0, variance)))


def amax(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The maximum over any dimensions; equal maxima share the gradient."""
    return _extremum(Amax, "amax", input, dim, keepdim)


def amin(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The minimum over any dimensions; equal minima share the gradient."""
    return _extremum(Amin, "amin", input, dim, keepdim)


def max(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The maximum of all, or with `dim` (values, indices): there the first one has the gradient."""
    if dim is None:
        return amax(input)
    return _with_indices(argmax, input, dim, keepdim)


def min(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The minimum of all, or with `dim` (values, indices): there the first one has the gradient."""
    if dim is None:
        return amin(input)
    return _with_indices(argmin, input, dim, keepdim)


def argmax(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first maximum along `dim`, or in the flattened tensor."""
    return _argument(np.argmax, "argmax", input, dim, keepdim)


def argmin(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first minimum along `dim`, or in the flattened tensor."""
    return _argument(np.argmin, "argmin", input, dim, keepdim)


def all(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over `dim` are true (not 0)."""
    x = as_tensor(input)
    return Tensor._wrap(np.all(x._data, normalize_dims("all", dim, x.ndim), keepdims=keepdim))


def any(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over `dim` is true (not 0)."""
    x = as_tensor(input)
    return Tensor._wrap(np.any(x._data, normalize_dims("any", dim, x.ndim), keepdims=keepdim))


def logsumexp(input: TensorLike, dim: Dims, keepdim: bool = False) -> Tensor:
    """log sum e^x over `dim`, computed as m + log sum e^(x - m) with m the maximum: no overflow."""
    x = float_operand("logsumexp", input)
    dims = normalize_dims("logsumexp", dim, x.ndim)
    top = np.max(x._data, axis=dims, keepdims=True, initial=-np.inf)
    shift = Tensor._wrap(np.where(np.isfinite(top), top, x.dtype.type(0)))
    out = log(sum(exp(x - shift), dims, keepdim=True)) + shift
    return out if keepdim else squeeze(out, dims)


def _keep(out: Tensor, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return reshape(out, tuple(1 if d in dims else n for d, n in enumerate(x.shape)))


def _count(x: Tensor, dims: tuple[int, ...]) -> int:
    return math.prod(x.shape[d] for d in dims)


def _inverse(count: int) -> float:
    # an empty mean is NaN, as in NumPy and PyTorch (0 * inf)
    return 1.0 / count if count > 0 else math.inf


def _extremum(op: type[Amax], name: str, input: TensorLike, dim: Dims, keepdim: bool) -> Tensor:
    x = as_tensor(input)
    dims = normalize_dims(name, dim, x.ndim)
    if _count(x, dims) == 0:
        raise ValueError(f"{name}: no element along dim {dim} of shape {x.shape}")
    out = op.apply(x, dims=dims)
    return _keep(out, x, dims) if keepdim else out


def _with_indices(argument: Any, input: TensorLike, dim: int, keepdim: bool) -> ValuesIndices:
    x = as_tensor(input)
    indices = argument(x, dim, keepdim=True)
    values = take_along_dim(x, indices, dim)
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
