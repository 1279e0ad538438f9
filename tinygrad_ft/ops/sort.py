"""Sorting: sort, argsort, topk. A NaN counts as larger than every number, as in PyTorch."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, normalize_dim
from tinygrad_ft.ops.extremum import ValuesIndices, pick
from tinygrad_ft.tensor import Tensor, TensorLike


def sort(
    input: TensorLike, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> ValuesIndices:
    """The values in order along `dim`, and where each was: a named pair (values, indices).

    out = x[indices]
    grad_x[indices] = grad_out

    Equal elements keep their order, whatever `stable` says; without it PyTorch leaves it open.
    """
    x = as_tensor(input)
    return pick(x, _order("sort", x, dim, descending), dim)


def argsort(
    input: TensorLike, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Tensor:
    """The indices that `sort` gives.

    out = the order of x
    """
    x = as_tensor(input)
    return Tensor._wrap(_order("argsort", x, dim, descending))


def topk(
    input: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The k largest (or smallest) along `dim`, and where they were: a named pair (values, indices).

    out = x[indices]
    grad_x[i] = grad_out[j] where i = indices[j], else 0

    They come in order, whatever `sorted` says, and of equal elements the first ones are taken.
    """
    x = as_tensor(input)
    d = normalize_dim("topk", dim, x.ndim)
    length = x.shape[d] if x.ndim else 1
    if not 0 <= k <= length:
        raise ValueError(f"topk: k = {k} of the {length} elements along dim {dim} of {x.shape}")
    order = _order("topk", x, d, largest)
    return pick(x, order if x.ndim == 0 else order.take(np.arange(k), axis=d), d)


def _order(op: str, x: Tensor, dim: int, descending: bool) -> np.ndarray:
    """The stable order along `dim`, as indices."""
    d = normalize_dim(op, dim, x.ndim)
    if x.ndim == 0:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x._data, axis=d, kind="stable").astype(np.int64, copy=False)
    # read backwards, so that equal elements still come in the order they had
    backwards = np.flip(np.argsort(np.flip(x._data, d), axis=d, kind="stable"), d)
    return x.shape[d] - 1 - backwards
