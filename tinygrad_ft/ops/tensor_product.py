"""Products of tensors over chosen dimensions, or none: tensordot, inner, outer, kron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, normalize_dim
from tinygrad_ft.ops.elementwise import mul
from tinygrad_ft.ops.matmul import matmul
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.shape import permute, reshape, unsqueeze
from tinygrad_ft.tensor import Tensor, TensorLike


def inner(input: TensorLike, other: TensorLike) -> Tensor:
    """The sum of products over the last dimensions: (..., K), (M, K) -> (..., M).

    out[i, j] = sum_k a[i, k] * b[j, k]
    grad_a[i, k] = sum_j grad_out[i, j] * b[j, k], grad_b[j, k] = sum_i grad_out[i, j] * a[i, k]

    Where one is a number, the product with it.
    """
    a, b = as_tensor(input), as_tensor(other)
    if a.ndim == 0 or b.ndim == 0:
        return mul(a, b)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"inner: shapes {a.shape} and {b.shape} differ in the last dimension")
    return tensordot(a, b, ([-1], [-1]))


def outer(input: TensorLike, vec2: TensorLike) -> Tensor:
    """Every element of a vector times every element of another: (M), (N) -> (M, N).

    out[i, j] = a[i] * b[j]
    grad_a[i] = sum_j grad_out[i, j] * b[j], grad_b[j] = sum_i grad_out[i, j] * a[i]
    """
    a, b = as_tensor(input), as_tensor(vec2)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer: needs two vectors, got shapes {a.shape} and {b.shape}")
    return mul(unsqueeze(a, 1), b)


def kron(input: TensorLike, other: TensorLike) -> Tensor:
    """The Kronecker product: every element of a times the whole of b, as one larger tensor.

    out[i * n + j] = a[i] * b[j]
    grad_a[i] = sum_j grad_out[i * n + j] * b[j], grad_b[j] = sum_i grad_out[i * n + j] * a[i]

    n is the size of b; so it is along every dimension. Missing leading dimensions are size 1.
    """
    a, b = as_tensor(input), as_tensor(other)
    ndim = a.ndim if a.ndim > b.ndim else b.ndim
    a_shape = (1,) * (ndim - a.ndim) + a.shape
    b_shape = (1,) * (ndim - b.ndim) + b.shape
    left = reshape(a, [n for m in a_shape for n in (m, 1)])
    right = reshape(b, [n for m in b_shape for n in (1, m)])
    return reshape(mul(left, right), [m * n for m, n in zip(a_shape, b_shape, strict=True)])


def tensordot(a: TensorLike, b: TensorLike, dims: Any = 2) -> Tensor:
    """The sum of products over pairs of dimensions; what is left of a comes before what is of b.

    out[i, j] = sum_k a[i, k] * b[k, j]
    grad_a[i, k] = sum_j grad_out[i, j] * b[k, j], grad_b[k, j] = sum_i a[i, k] * grad_out[i, j]

    `dims` is a number n, for the last n of a with the first n of b in their order, or two sequences
    (dims of a, dims of b). A size of 1 broadcasts. Raises ValueError naming both shapes if sizes
    differ.
    """
    x, y = as_tensor(a), as_tensor(b)
    if x.dtype != y.dtype:
        raise TypeError(
            f"tensordot: dtypes {x.dtype} and {y.dtype} differ; convert one with .to(dtype)"
        )
    of_x, of_y = _pairs(x, y, dims)
    for d, e in zip(of_x, of_y, strict=True):
        m, n = x.shape[d], y.shape[e]
        if m != n and 1 not in (m, n):
            raise ValueError(
                f"tensordot: shapes {x.shape} and {y.shape} differ in size along dim {d} and {e}"
            )
        # sum_k a[0] * b[k] = a[0] * sum_k b[k]
        if m == 1 != n:
            y = sum(y, e, keepdim=True, dtype=y.dtype)
        elif n == 1 != m:
            x = sum(x, d, keepdim=True, dtype=x.dtype)
    rest_x = [d for d in range(x.ndim) if d not in of_x]
    rest_y = [d for d in range(y.ndim) if d not in of_y]
    inner = math.prod(x.shape[d] for d in of_x)
    rows, columns = [x.shape[d] for d in rest_x], [y.shape[d] for d in rest_y]
    left = reshape(permute(x, [*rest_x, *of_x]), (math.prod(rows), inner))
    right = reshape(permute(y, [*of_y, *rest_y]), (inner, math.prod(columns)))
    return reshape(matmul(left, right), (*rows, *columns))


def _pairs(x: Tensor, y: Tensor, dims: Any) -> tuple[list[int], list[int]]:
    """The dimensions to contract, of each."""
    if isinstance(dims, int | np.integer):
        if not 0 <= dims <= (x.ndim if x.ndim < y.ndim else y.ndim):
            raise ValueError(f"tensordot: dims = {dims} of shapes {x.shape} and {y.shape}")
        return list(range(x.ndim - int(dims), x.ndim)), list(range(int(dims)))
    if not isinstance(dims, Sequence) or len(dims) != 2 or isinstance(dims[0], int):
        raise TypeError(f"tensordot: dims must be a number or two sequences, got {dims!r}")
    of_x, of_y = (
        [normalize_dim("tensordot", d, t.ndim) for d in ds]
        for ds, t in zip(dims, (x, y), strict=True)
    )
    if len(of_x) != len(of_y) or len({*of_x}) != len(of_x) or len({*of_y}) != len(of_y):
        raise ValueError(f"tensordot: dims {dims} are no pairs of different dimensions")
    return of_x, of_y
