"""Picking along a dimension, and putting there: gather, scatter, and their relatives.

Indices are checked before anything is computed: integers, and none outside of its dimension.
Negative ones are outside, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._indexing import WHOLE, Parts, checked, flat_positions
from tinygrad_ft.ops._operands import normalize_dim
from tinygrad_ft.ops.cast import number_as
from tinygrad_ft.ops.elementwise import add, mul
from tinygrad_ft.ops.index import Gather, ScatterAdd, along, getitem, integers
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import broadcast_to, reshape, unsqueeze
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Scatter(Function):
    """out[j] = src[i] where index[i] = j, else x[j];  grad_x[j] = 0 where index[i] = j, else
    grad_out[j];  grad_src[i] = grad_out[index[i]] where src[i] is in out, else 0

    Where an index is met twice one of its values stays, and that one has the gradient. The index
    has an array for every dimension of x.
    """

    def forward(self, x: np.ndarray, src: np.ndarray, *, index: Parts) -> np.ndarray:
        self.index = index
        places = flat_positions(index, x.shape)
        out = np.array(x, order="C")
        flat = places.reshape(-1)
        out.reshape(-1)[flat] = np.broadcast_to(src, places.shape).reshape(-1)
        if self.needs_input_grad[1]:
            # which of several stayed: written in the same way, so the same ones stay
            numbers = np.arange(flat.size)
            writer = np.empty(x.size, np.intp)
            writer[flat] = numbers
            self.save_constant("stayed", (writer[flat] == numbers).reshape(places.shape))
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        grad_x = grad_src = None
        if self.needs_input_grad[0]:
            zero = Tensor._wrap(np.zeros((), grad_out.dtype))
            grad_x = Scatter.apply(grad_out, zero, index=self.index)
        if self.needs_input_grad[1]:
            picked = Gather.apply(grad_out, index=self.index)
            grad_src = where(self.constant("stayed"), picked, 0.0)
        return grad_x, grad_src


def gather(input: Tensor, dim: int, index: TensorLike) -> Tensor:
    """The entries of a dimension that `index` names, for each place in the others.

    out[i, j] = x[i, index[i, j]]
    grad_x[i, k] = sum_j grad_out[i, j] where index[i, j] = k

    Nothing broadcasts: `index` has as many dimensions as the input, and outside of `dim` is at most
    as large.
    """
    x, parts = _along("gather", input, dim, index)
    out = Gather.apply(x, index=parts)
    return out if input.ndim else reshape(out, np.shape(index))


def scatter(
    input: Tensor,
    dim: int,
    index: TensorLike,
    src: Tensor | Scalar | None = None,
    *,
    value: Scalar | None = None,
) -> Tensor:
    """A copy of the input with `src`, or one `value`, at the entries of a dimension that are named.

    out[i, index[i, j]] = src[i, j]
    grad_x = 0 at index, grad_out elsewhere;  grad_src[i, j] = grad_out[i, index[i, j]]

    Of `src` the part that is as large as `index` is used. Where an index is met twice it is not
    said which value stays; it is the one that has the gradient.
    """
    given = value if src is None else src
    if given is None or (src is not None and value is not None):
        raise TypeError("scatter: give either src or value")
    x, parts = _along("scatter", input, dim, index)
    if isinstance(given, Tensor):
        out = Scatter.apply(x, _part("scatter", input, given, index), index=parts)
    else:
        filler = Tensor._wrap(number_as("scatter", given, input.dtype))
        out = Scatter.apply(x, filler, index=parts)
    return out if input.ndim else reshape(out, ())


def scatter_add(input: Tensor, dim: int, index: TensorLike, src: Tensor) -> Tensor:
    """The input with `src` added at the entries of a dimension that `index` names.

    out[i, k] = x[i, k] + sum_j src[i, j] where index[i, j] = k
    grad_x = grad_out;  grad_src[i, j] = grad_out[i, index[i, j]]

    Of `src` the part that is as large as `index` is used.
    """
    x, parts = _along("scatter_add", input, dim, index)
    part = _part("scatter_add", input, src, index)
    out = add(x, ScatterAdd.apply(part, index=parts, shape=x.shape))
    return out if input.ndim else reshape(out, ())


def index_select(input: Tensor, dim: int, index: TensorLike) -> Tensor:
    """The slices of a dimension that a vector names, in that order.

    out[..., i, ...] = x[..., index[i], ...]
    grad_x[..., k, ...] = sum_i grad_out[..., i, ...] where index[i] = k
    """
    d, places = _vector("index_select", input, dim, index)
    if input.ndim == 0:
        if places.size != 1:
            raise ValueError(
                f"index_select: {places.size} indices for a tensor without dimensions; needs one"
            )
        return input
    return Gather.apply(input, index=(*(WHOLE,) * d, places))


def index_add(
    input: Tensor, dim: int, index: TensorLike, source: Tensor, *, alpha: Scalar = 1
) -> Tensor:
    """The input with slices of `source`, times alpha, added to the slices that a vector names.

    out[..., k, ...] = x[..., k, ...] + alpha * sum_i source[..., i, ...] where index[i] = k
    grad_x = grad_out;  grad_source[..., i, ...] = alpha * grad_out[..., index[i], ...]
    """
    d, places = _vector("index_add", input, dim, index)
    x, slices = (input, source) if input.ndim else (reshape(input, (1,)), reshape(source, (-1,)))
    if slices.shape != (*x.shape[:d], places.size, *x.shape[d + 1 :]):
        raise ValueError(
            f"index_add: source {source.shape} must have the shape of the input {input.shape}, "
            f"with {places.size} entries along dim {d}"
        )
    _same_dtype("index_add", input, source)
    scaled = slices if alpha == 1 else mul(slices, alpha)
    parts = (*(WHOLE,) * d, places)
    out = add(x, ScatterAdd.apply(scaled, index=parts, shape=x.shape))
    return out if input.ndim else reshape(out, ())


def repeat_interleave(input: Tensor, repeats: int | TensorLike, dim: int | None = None) -> Tensor:
    """Each entry of a dimension several times in a row: `repeats` times, or as a vector tells each.

    out[i * repeats + j] = x[i]
    grad_x[i] = sum_j grad_out[i * repeats + j]

    Without a `dim` the input is flattened first.
    """
    if dim is None:
        return repeat_interleave(reshape(input, (-1,)), repeats, 0)
    d = normalize_dim("repeat_interleave", dim, input.ndim)
    x = input if input.ndim else reshape(input, (1,))
    size = x.shape[d]
    counts = integers("repeat_interleave", repeats)
    if counts.size and counts.min() < 0:
        raise ValueError(f"repeat_interleave: repeats must not be negative, got {counts.min()}")
    if counts.ndim > 1 or counts.size not in (1, size):
        raise ValueError(
            f"repeat_interleave: repeats must be a number or a vector of {size} for dim {d} of "
            f"shape {input.shape}, got shape {counts.shape}"
        )
    if counts.size == 1:
        n = int(counts.reshape(()))
        wide = broadcast_to(unsqueeze(x, d + 1), (*x.shape[: d + 1], n, *x.shape[d + 1 :]))
        return reshape(wide, (*x.shape[:d], size * n, *x.shape[d + 1 :]))
    return Gather.apply(x, index=(*(WHOLE,) * d, np.repeat(np.arange(size), counts)))


def _along(op: str, input: Tensor, dim: int, index: TensorLike) -> tuple[Tensor, Parts]:
    """The input, and the index with an array for each dimension; all checked.

    A tensor without dimensions becomes one of shape (1,).
    """
    places = integers(op, index)
    d = normalize_dim(op, dim, input.ndim)
    x = input if input.ndim else reshape(input, (1,))
    if places.ndim == 0:
        places = places.reshape(1)
    if places.ndim != x.ndim or any(
        m > n for i, (m, n) in enumerate(zip(places.shape, x.shape, strict=True)) if i != d
    ):
        raise ValueError(
            f"{op}: an index of shape {places.shape} is larger than the input {input.shape} "
            f"outside dim {d}, or has another number of dimensions"
        )
    places = checked(f"{op} along dim {d}", places, x.shape[d])
    return x, along(places, places.shape, d)


def _part(op: str, input: Tensor, src: Tensor, index: TensorLike) -> Tensor:
    """The part of `src` that is as large as the index."""
    _same_dtype(op, input, src)
    x = src if src.ndim else reshape(src, (1,))
    shape = integers(op, index).shape or (1,)
    if len(shape) != x.ndim or any(m > n for m, n in zip(shape, x.shape, strict=True)):
        raise ValueError(f"{op}: an index of shape {shape} is larger than src {src.shape}")
    return x if x.shape == shape else getitem(x, tuple(slice(n) for n in shape))


def _vector(op: str, input: Tensor, dim: int, index: TensorLike) -> tuple[int, np.ndarray]:
    places = integers(op, index)
    if places.ndim > 1:
        raise ValueError(f"{op}: the index must be a vector, got shape {places.shape}")
    d = normalize_dim(op, dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    return d, checked(f"{op} along dim {d}", places.reshape(-1), size)


def _same_dtype(op: str, input: Tensor, src: Tensor) -> None:
    if src.dtype != input.dtype:
        raise TypeError(
            f"{op}: {src.dtype} cannot be put into a tensor of {input.dtype}; convert it"
        )
