"""Reductions over any dimensions: sum, mean, prod, var, std, logsumexp, trace, all, any.

`dim` is an int, several, or None for all dimensions; an empty `dim` means all of them too, as in
PyTorch. A `dtype` is the one to compute in and to return: the input is converted first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand, normalize_dim, normalize_dims
from tinygrad_ft.ops.cast import to
from tinygrad_ft.ops.elementwise import mul
from tinygrad_ft.ops.index import getitem
from tinygrad_ft.ops.join import cat
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import broadcast_to, flatten, reshape, squeeze, transpose
from tinygrad_ft.ops.triangle import diagonal
from tinygrad_ft.ops.unary import exp, log, sqrt
from tinygrad_ft.tensor import Tensor, TensorLike

Dims = int | Sequence[int] | None


class Sum(Function):
    """out = sum_i x[i];  grad_x[i] = grad_out

    The index i runs over the dimensions that are reduced.
    """

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        self.shape = x.shape
        self.kept = kept_shape(x.shape, dims)
        return np.add.reduce(x, axis=dims, dtype=dtype or accumulation_dtype(x.dtype))

    def backward(self, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(reshape(grad_out, self.kept), self.shape),)


def sum(input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over `dim`. Integers and booleans are added up as int64."""
    x = _as_dtype(input, dtype)
    dims = reduced_dims("sum", dim, x.ndim)
    out = Sum.apply(x, dims=dims, dtype=None if dtype is None else x.dtype)
    return reshape(out, kept_shape(x.shape, dims)) if keepdim else out


def mean(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The mean over `dim`. An integer tensor raises TypeError, as in PyTorch; nothing gives NaN.

    out = sum_i x[i] / n
    grad_x[i] = grad_out / n
    """
    x = _as_dtype(input, dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"mean: needs a floating dtype, not {x.dtype}; convert with .float()")
    dims = reduced_dims("mean", dim, x.ndim)
    return sum(x, dims, keepdim) * _inverse(count(x, dims))


def prod(
    input: TensorLike, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The product of all elements, or along `dim`. Integers and booleans multiply as int64.

    out = prod_i x[i]
    grad_x[i] = grad_out * prod_{j != i} x[j]

    Pairs are multiplied, then pairs of these, and so on. Nothing is divided, so the gradients of
    every order are right with any number of zeros.
    """
    x = as_tensor(input)
    x = to(x, accumulation_dtype(x.dtype) if dtype is None else dtype)
    d = 0 if dim is None else normalize_dim("prod", dim, x.ndim)
    kept = kept_shape(x.shape, range(x.ndim) if dim is None else (d,))
    out = flatten(x) if dim is None or x.ndim == 0 else transpose(x, 0, d)
    if out.shape[0] == 0:
        out = cat([out, Tensor._wrap(np.ones((1, *out.shape[1:]), x.dtype))])
    while out.shape[0] > 1:
        half = out.shape[0] // 2
        pairs = mul(getitem(out, slice(half)), getitem(out, slice(half, 2 * half)))
        out = cat([pairs, getitem(out, slice(2 * half, None))]) if out.shape[0] % 2 else pairs
    if dim is None:
        return reshape(out, kept if keepdim else ())
    out = reshape(out if x.ndim == 0 else transpose(out, 0, d), kept)
    return out if keepdim else squeeze(out, d)


def var(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over `dim`: n elements with mean xbar, c = `correction`, 1 by default.

    out = sum_i (x[i] - xbar)^2 / (n - c)
    grad_x[i] = grad_out * 2 * (x[i] - xbar) / (n - c)

    `unbiased` is PyTorch's older name for the correction: True is 1, False is 0; `var(x, False)`
    means it too. No degree of freedom (n <= c) gives NaN, or infinity if the numbers differ.
    """
    return _moments("var", input, dim, unbiased, keepdim, correction)[0]


def std(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The standard deviation; the arguments are those of `var`.

    out = sqrt(sum_i (x[i] - xbar)^2 / (n - c))
    grad_x[i] = grad_out * (x[i] - xbar) / ((n - c) * out) where out > 0, else 0
    """
    return _root(_moments("std", input, dim, unbiased, keepdim, correction)[0])


def var_mean(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`var` and `mean`, with the arguments of `var`.

    out_var = sum_i (x[i] - xbar)^2 / (n - c), out_mean = xbar
    grad_x[i] = grad_var * 2 * (x[i] - xbar) / (n - c) + grad_mean / n
    """
    return _moments("var_mean", input, dim, unbiased, keepdim, correction)


def std_mean(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`std` and `mean`, with the arguments of `var`.

    out_std = sqrt(sum_i (x[i] - xbar)^2 / (n - c)), out_mean = xbar
    grad_x[i] = grad_std * (x[i] - xbar) / ((n - c) * out_std) + grad_mean / n
    """
    variance, centre = _moments("std_mean", input, dim, unbiased, keepdim, correction)
    return _root(variance), centre


def logsumexp(input: TensorLike, dim: Dims, keepdim: bool = False) -> Tensor:
    """The logarithm of a sum of exponentials over `dim`, with m the maximum: no overflow.

    out = m + ln(sum_i e^(x[i] - m))
    grad_x[i] = grad_out * e^(x[i] - m) / sum_j e^(x[j] - m)

    Where all of x is -inf, so is out, and the gradient is NaN, as in PyTorch.
    """
    x = float_operand("logsumexp", input)
    dims = reduced_dims("logsumexp", dim, x.ndim)
    top = np.max(x._data, axis=dims, keepdims=True, initial=-np.inf)
    shift = Tensor._wrap(np.where(np.isfinite(top), top, x.dtype.type(0)))
    out = log(sum(exp(x - shift), dims, keepdim=True)) + shift
    return out if keepdim else squeeze(out, dims)


def trace(input: TensorLike) -> Tensor:
    """The sum of a matrix's diagonal.

    out = sum_i x[i, i]
    grad_x[i, j] = grad_out where i = j, else 0
    """
    x = as_tensor(input)
    if x.ndim != 2:
        raise ValueError(f"trace: needs a matrix, got shape {x.shape}")
    return sum(diagonal(x))


def all(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over `dim` are true (not 0); an empty `dim` reduces nothing.

    out = (x[i] != 0 for all i)
    """
    x = as_tensor(input)
    return Tensor._wrap(np.all(x._data, normalize_dims("all", dim, x.ndim), keepdims=keepdim))


def any(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over `dim` is true (not 0); an empty `dim` reduces nothing.

    out = (x[i] != 0 for any i)
    """
    x = as_tensor(input)
    return Tensor._wrap(np.any(x._data, normalize_dims("any", dim, x.ndim), keepdims=keepdim))


def count_nonzero(input: TensorLike, dim: Dims = None) -> Tensor:
    """How many elements over `dim` are not 0, as int64.

    out = sum_i (x[i] != 0)
    """
    x = as_tensor(input)
    counts = np.count_nonzero(x._data, axis=reduced_dims("count_nonzero", dim, x.ndim))
    return Tensor._wrap(np.asarray(counts, np.int64))


# ---- shared with the other reductions ------------------------------------------------------------


def reduced_dims(op: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    """Dimensions to reduce, as a sorted tuple; None and an empty sequence mean all of them."""
    empty = isinstance(dim, Sequence) and len(dim) == 0
    return normalize_dims(op, None if empty else dim, ndim)


def kept_shape(shape: tuple[int, ...], dims: Sequence[int]) -> tuple[int, ...]:
    """The shape with 1 for every reduced dimension."""
    return tuple([1 if d in dims else n for d, n in enumerate(shape)])


def count(x: Tensor, dims: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    return math.prod(x.shape[d] for d in dims)


def accumulation_dtype(dtype: np.dtype) -> np.dtype:
    """int64 for booleans and integers."""
    return dtype if dtype.kind == "f" else np.dtype(np.int64)


def _as_dtype(input: TensorLike, dtype: Any) -> Tensor:
    x = as_tensor(input)
    return x if dtype is None else to(x, dtype)


def _inverse(number: float) -> float:
    # an empty mean is NaN, as in NumPy and PyTorch (0 * inf)
    return 1.0 / number if number > 0 else math.inf


def _moments(
    op: str,
    input: TensorLike,
    dim: Dims,
    unbiased: bool | None,
    keepdim: bool,
    correction: float | None,
) -> tuple[Tensor, Tensor]:
    """The variance and the mean."""
    x = as_tensor(input)
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: needs a floating dtype, not {x.dtype}; convert with .float()")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{op}: unbiased and correction say the same; give one of them")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    dims = reduced_dims(op, dim, x.ndim)
    centre = mean(x, dims, keepdim=True)
    centred = x - centre
    variance = sum(centred * centred, dims, keepdim) * _inverse(count(x, dims) - correction)
    return variance, centre if keepdim else reshape(centre, variance.shape)


def _root(variance: Tensor) -> Tensor:
    """Its square root, whose gradient is 0 where the variance is 0, as in PyTorch."""
    flat = variance._data == 0
    return where(flat, 0.0, sqrt(where(flat, 1.0, variance)))
