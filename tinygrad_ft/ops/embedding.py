"""Rows of a table: embeddings, and one-hot vectors."""

from __future__ import annotations

import numpy as np

import kernels
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.ops._operands import as_tensor
from tinygrad_ft.ops.selection import where
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Embedding(Function):
    """out[i] = weight[ids[i]];  grad_weight[r] = sum_i grad_out[i] where ids[i] = r

    The row `padding` gets no gradient.
    """

    def forward(self, weight: np.ndarray, *, ids: np.ndarray, padding: int | None) -> np.ndarray:
        self.rows, self.padding = len(weight), padding
        self.save_constant("ids", ids)
        return weight[ids]

    def backward(self, grad_out: Tensor) -> Grads:
        ids = self.constant("ids")
        return (SumRows.apply(grad_out, ids=ids, rows=self.rows, padding=self.padding),)


class SumRows(Function):
    """out[r] = sum_i x[i] where ids[i] = r;  grad_x[i] = grad_out[ids[i]]

    The row `padding` is 0, and what belongs there gets no gradient.
    """

    def forward(
        self, x: np.ndarray, *, ids: np.ndarray, rows: int, padding: int | None
    ) -> np.ndarray:
        self.padding = padding
        self.save_constant("ids", ids)
        out = kernels.scatter_add_rows(x.reshape(ids.size, x.shape[-1]), ids.reshape(-1), rows)
        if padding is not None:
            out[padding] = 0
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        ids = self.constant("ids")
        picked = Embedding.apply(grad_out, ids=ids, padding=self.padding)
        if self.padding is None:
            return (picked,)
        return (where((ids == self.padding)[..., None], 0.0, picked),)


def embedding(
    input: TensorLike,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (rows, width) by integers of any shape: input (...) -> (..., width).

    out[i] = weight[input[i]]
    grad_weight[r] = sum_i grad_out[i] where input[i] = r

    The row `padding_idx` (negative counts from the end) gets no gradient. With `max_norm` the rows
    that are looked up are first shortened, in place, to that `norm_type`-norm. Gradients are dense
    and whole: `scale_grad_by_freq` and `sparse` raise NotImplementedError.

    Raises TypeError if the input is not of integers, IndexError if a number is no row.
    """
    indices = as_tensor(input)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"embedding: the input must be of integers, not {indices.dtype}")
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (rows, width), got shape {weight.shape}")
    if scale_grad_by_freq or sparse:
        option = "scale_grad_by_freq" if scale_grad_by_freq else "sparse"
        raise NotImplementedError(f"embedding: {option} is not supported; gradients are dense sums")
    rows = len(weight)
    # a copy: the caller may change the input before the backward
    ids = indices._data.astype(np.int64)
    outside = (ids < 0) | (ids >= rows)
    if outside.any():
        raise IndexError(f"embedding: {ids[outside][0]} is no row of a weight of {rows} rows")
    padding = None if padding_idx is None else padding_row("embedding", padding_idx, rows)
    if max_norm is not None:
        _shorten(weight, np.unique(ids), max_norm, norm_type)
    return Embedding.apply(weight, ids=ids, padding=padding)


def padding_row(name: str, padding_idx: int, rows: int) -> int:
    """`padding_idx` counted from the start; ValueError if there is no such row."""
    if not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx {padding_idx} is no row of {rows} rows")
    return padding_idx % rows


def _shorten(weight: Tensor, ids: np.ndarray, max_norm: float, norm_type: float) -> None:
    rows = weight._data[ids]
    norms = np.linalg.norm(rows, norm_type, axis=1)
    # PyTorch's factor, which keeps a hair below the limit
    long = norms > max_norm
    with no_grad():
        scale = (max_norm / (norms[long] + 1e-7)).astype(weight.dtype)
        weight.write("embedding")[ids[long]] = rows[long] * scale[:, None]


def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Classes (...) as int64 vectors (..., num_classes) with a 1 at the class; no gradient.

    out[..., c] = 1 where tensor[...] = c, else 0

    With `num_classes` -1 there are as many as the largest class needs. Raises TypeError if the
    input is not of integers, ValueError if a class is negative or too large.
    """
    classes = as_tensor(tensor)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"one_hot: the input must be of integers, not {classes.dtype}")
    ids = classes._data
    if num_classes == -1:
        if not ids.size:
            raise ValueError("one_hot: give num_classes for an input without elements")
        num_classes = int(ids.max()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be positive or -1, got {num_classes}")
    outside = (ids < 0) | (ids >= num_classes)
    if outside.any():
        raise ValueError(f"one_hot: {ids[outside][0]} is no class of {num_classes} classes")
    return Tensor._wrap((ids[..., None] == np.arange(num_classes)).astype(np.int64))
