"""`norm`: the p-norm of the elements over any dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ft.ops._operands import as_tensor
from tinygrad_ft.ops.cast import to
from tinygrad_ft.ops.elementwise import mul, pow
from tinygrad_ft.ops.extremum import Amax, Amin, extremum
from tinygrad_ft.ops.reduce import Dims, reduced_dims, sum
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.ops.unary import abs, sqrt
from tinygrad_ft.tensor import Tensor, TensorLike


def norm(
    input: TensorLike,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The p-norm of the elements over `dim`; "fro" and None are p = 2.

    out = (sum_i |x[i]|^p)^(1/p)
    grad_x[i] = grad_out * sign(x[i]) * (|x[i]| / out)^(p - 1) where out > 0, else 0

    p = inf is the largest |x|, -inf the smallest, with the gradient shared by those that attain it;
    p = 0 counts the elements that are not 0, and its gradient is 0. An element that is 0 gets no
    gradient unless p is 2, 4, 6, ...: the norm has a kink there, or is flat. Nothing overflows or
    underflows on the way to a result that does not (subnormal numbers excepted). Raises TypeError
    for integers; ValueError for another string, and for an empty maximum or minimum.
    """
    x = as_tensor(input) if dtype is None else to(as_tensor(input), dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"norm: needs a floating dtype, not {x.dtype}; convert with .float()")
    order = _order(p)
    if math.isinf(order):
        return extremum(Amax if order > 0 else Amin, "norm", abs(x), dim, keepdim)
    dims = reduced_dims("norm", dim, x.ndim)
    if order == 0:
        # x^0 is 1 everywhere and its gradient 0
        return sum(where(x._data != 0, pow(x, 0), 0.0), dims, keepdim)
    if order == 1:
        return sum(abs(x), dims, keepdim)
    if order < 0 and 0 in (x.shape[d] for d in dims):
        raise ValueError(f"norm: p = {order:g} needs an element along dim {dim} of {x.shape}")
    unit = _unit(x._data, dims, order)
    scaled = mul(x, Tensor._wrap(1 / unit))
    zero = x._data == 0
    powers = sum(_power(scaled, order, zero), dims, keepdim=True)
    # where the norm is 0 so is its gradient
    flat = np.any(zero, dims, keepdims=True) if order < 0 else powers._data == 0
    safe = where(flat, 1.0, powers)
    root = sqrt(safe) if order == 2 else pow(safe, 1 / order)
    out = mul(where(flat, 0.0, root), Tensor._wrap(unit))
    return out if keepdim else reshape(out, [n for d, n in enumerate(x.shape) if d not in dims])


def _order(p: float | str | None) -> float:
    if p is None or p == "fro":
        return 2.0
    if isinstance(p, str):
        raise ValueError(f"norm: p = {p!r} is not known; use 'fro' or a number, math.inf too")
    if math.isnan(p):
        raise ValueError("norm: p is NaN")
    return float(p)


def _power(x: Tensor, order: float, zero: np.ndarray) -> Tensor:
    """|x|^p; constant where x = 0, unless an even power makes it smooth there."""
    if order == 2:
        return mul(x, x)
    if order > 0 and order % 2 == 0:
        return pow(x, int(order))
    return where(zero, 0.0, pow(where(zero, 1.0, abs(x)), order))


def _unit(x: np.ndarray, dims: tuple[int, ...], order: float) -> np.ndarray:
    """A power of two near the element that decides the norm: the largest, for p < 0 the smallest.

    The norm of x / unit, times unit, does not depend on it and has the gradients of the norm of x,
    so it is a constant. Dividing by a power of two loses no digit.
    """
    size = np.abs(x)
    if order > 0:
        size = np.max(size, axis=dims, keepdims=True, initial=0)
    else:
        size = np.min(size, axis=dims, keepdims=True)
    info = np.finfo(x.dtype)
    exponent = np.clip(np.frexp(size)[1], info.minexp + 2, info.maxexp - 2)
    usual = np.isfinite(size) & (size > 0)
    return np.ldexp(np.ones(size.shape, x.dtype), np.where(usual, exponent, 0))
