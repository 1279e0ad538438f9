"""Shape: broadcasting and its transpose, reshape, permute, squeeze, flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import kernels
from kernels.norm import is_channels_last
from kernels.placing import reordered
from kernels.workers import catch_up
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import (
    as_tensor,
    normalize_dim,
    normalize_dims,
)
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class BroadcastTo(Function):
    """out = x repeated to a larger shape (no copy);  grad_x = grad_out summed back to x's shape"""

    view = True

    def forward(self, x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        return np.broadcast_to(x, shape)

    def backward(self, grad_out: Tensor) -> Grads:
        return (sum_to(grad_out, self.shape),)


class SumTo(Function):
    """out = x summed down to a shape that broadcasts to it;  grad_x = grad_out in the shape of x"""

    runs_ahead = True

    def forward(self, x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        if x.ndim == 4 and shape == (1, x.shape[1], 1, 1) and x.size and is_channels_last(x):
            return kernels.sum_rows(x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])).reshape(shape)
        catch_up()
        lead = x.ndim - len(shape)
        dims = tuple(range(lead)) + tuple(
            lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1
        )
        with np.errstate(all="ignore"):
            return np.add.reduce(x, axis=dims, keepdims=True).reshape(shape)

    def backward(self, grad_out: Tensor) -> Grads:
        return (broadcast_to(grad_out, self.shape),)


class Reshape(Function):
    """out = the elements of x in another shape;  grad_x = grad_out in the shape of x"""

    view = True
    runs_ahead = True

    def forward(self, x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        if not x.flags.c_contiguous:
            if _is_flattening(x, shape):
                self.view = False
                return reordered(x, range(4)).reshape(shape)
            catch_up()  # it may be copied
        out = x.reshape(shape)
        self.view = np.may_share_memory(out, x)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (reshape(grad_out, self.shape),)


def _is_flattening(x: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether images with channels-last memory become vectors, which no view can be."""
    return (
        x.ndim == 4
        and shape == (x.shape[0], math.prod(x.shape[1:]))
        and x.shape[1] > 1
        and x.shape[2] * x.shape[3] > 1
        and x.dtype == np.float32
        and is_channels_last(x)
    )


class Permute(Function):
    """out = x with its dimensions in the order dims;  grad_x = grad_out in the inverse order"""

    view = True

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.inverse = tuple(int(i) for i in np.argsort(dims))
        return x.transpose(dims)

    def backward(self, grad_out: Tensor) -> Grads:
        return (permute(grad_out, self.inverse),)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """x repeated along new or size-1 dimensions to `size`, without a copy."""
    shape = tuple(size)
    if input.shape == shape:
        return input
    try:
        fits = np.broadcast_shapes(input.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"broadcast_to: shape {input.shape} does not broadcast to {shape}")
    return BroadcastTo.apply(input, shape=shape)


def expand(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """`broadcast_to` in which -1 keeps a dimension's size.

    out = x repeated to the sizes
    grad_x = grad_out summed back to the shape of x
    """
    lead = len(sizes) - input.ndim
    if lead < 0 or any(s == -1 for s in sizes[:lead]):
        raise ValueError(f"expand: sizes {tuple(sizes)} do not fit a tensor of shape {input.shape}")
    kept = (*sizes[:lead], *input.shape)
    return broadcast_to(input, tuple(k if s == -1 else s for s, k in zip(sizes, kept, strict=True)))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of another tensor.

    out = x repeated to the shape of other
    grad_x = grad_out summed back to the shape of x
    """
    return expand(input, other.shape)


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The transpose of `broadcast_to`: sums over every dimension that a broadcast would repeat."""
    return input if input.shape == shape else SumTo.apply(input, shape=shape)


def reshape(input: TensorLike, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape (one entry may be -1); no copy where memory allows."""
    x = as_tensor(input)
    return x if x.shape == tuple(shape) else Reshape.apply(x, shape=_full("reshape", x, shape))


def view(input: Tensor, shape: Sequence[int]) -> Tensor:
    """`reshape` that raises ValueError instead of copying.

    out = x in another shape
    grad_x = grad_out in the shape of x
    """
    full = _full("view", input, shape)
    if not np.shares_memory(input._data.reshape(full), input._data) and input.numel():
        raise ValueError(
            f"view: shape {full} of a tensor of shape {input.shape} and strides "
            f"{input._data.strides} needs a copy; use reshape"
        )
    return reshape(input, full)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`view` with the shape of another tensor.

    out = x in the shape of other
    grad_x = grad_out in the shape of x
    """
    return view(input, other.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of another tensor.

    out = x in the shape of other
    grad_x = grad_out in the shape of x
    """
    return reshape(input, other.shape)


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The dimensions in the order `dims`; no copy."""
    order = tuple(normalize_dim("permute", d, input.ndim) for d in dims)
    if sorted(order) != list(range(input.ndim)):
        raise ValueError(f"permute: dims {tuple(dims)} are no order of {input.ndim} dimensions")
    return Permute.apply(input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged; no copy."""
    order = list(range(input.ndim))
    a, b = (normalize_dim("transpose", d, input.ndim) for d in (dim0, dim1))
    if input.ndim:
        order[a], order[b] = order[b], order[a]
    return Permute.apply(input, dims=tuple(order))


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix (0 and 1 dimensions: itself).

    out = x^T
    grad_x = grad_out^T
    """
    if input.ndim > 2:
        raise ValueError(f"t: needs at most 2 dimensions, got shape {input.shape}; use permute")
    return input if input.ndim < 2 else transpose(input, 0, 1)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Another name of `transpose`.

    out = x with two dimensions exchanged
    grad_x = grad_out with the same dimensions exchanged
    """
    return transpose(input, axis0, axis1)


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Another name of `transpose`.

    out = x with two dimensions exchanged
    grad_x = grad_out with the same dimensions exchanged
    """
    return transpose(input, dim0, dim1)


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The dimensions `source` at the places `destination`, the others in their order; no copy."""
    both = [(d,) if isinstance(d, int | np.integer) else tuple(d) for d in (source, destination)]
    if len(both[0]) != len(both[1]):
        raise ValueError(f"movedim: source {both[0]} and destination {both[1]} must be as many")
    old, new = ([normalize_dim("movedim", d, input.ndim) for d in dims] for dims in both)
    if len(set(old)) < len(old) or len(set(new)) < len(new):
        raise ValueError(f"movedim: source {both[0]} or destination {both[1]} names one twice")
    if input.ndim == 0:
        return input
    order = [d for d in range(input.ndim) if d not in old]
    for place, d in sorted(zip(new, old, strict=True)):
        order.insert(place, d)
    return Permute.apply(input, dims=tuple(order))


def moveaxis(
    input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor:
    """Another name of `movedim`.

    out = x with its dimensions in another order
    grad_x = grad_out in the inverse order
    """
    return movedim(input, source, destination)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim..end_dim as one.

    out = x in another shape
    grad_x = grad_out in the shape of x
    """
    first = normalize_dim("flatten", start_dim, input.ndim)
    last = normalize_dim("flatten", end_dim, input.ndim)
    if input.ndim == 0:
        return reshape(input, (1,))
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    middle = math.prod(input.shape[first : last + 1])
    return reshape(input, (*input.shape[:first], middle, *input.shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several, of the given sizes (one may be -1).

    out = x in another shape
    grad_x = grad_out in the shape of x
    """
    if input.ndim == 0 or not len(sizes):
        raise ValueError(f"unflatten: sizes {tuple(sizes)} do not fit shape {input.shape}")
    d = normalize_dim("unflatten", dim, input.ndim)
    n = input.shape[d]
    parts = [int(s) for s in sizes]
    known = math.prod(s for s in parts if s != -1)
    if parts.count(-1) == 1 and known > 0 and n % known == 0:
        parts[parts.index(-1)] = n // known
    if math.prod(parts) != n or min(parts) < 0:
        raise ValueError(f"unflatten: dim {d} of size {n} does not fit into sizes {tuple(sizes)}")
    return reshape(input, (*input.shape[:d], *parts, *input.shape[d + 1 :]))


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dimensions of size 1 (all of them, or those named that have size 1).

    out = x in another shape
    grad_x = grad_out in the shape of x
    """
    dims = normalize_dims("squeeze", dim, input.ndim)
    kept = tuple(n for d, n in enumerate(input.shape) if not (n == 1 and d in dims))
    return reshape(input, kept)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`.

    out = x in another shape
    grad_x = grad_out in the shape of x
    """
    d = normalize_dim("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:d], 1, *input.shape[d:]))


def _full(op: str, x: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with -1 worked out; ValueError naming both shapes if the sizes differ."""
    sizes = tuple(int(s) for s in shape)
    known = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) == 1 and known > 0 and x.numel() % known == 0:
        sizes = tuple(x.numel() // known if s == -1 else s for s in sizes)
    if -1 in sizes or math.prod(sizes) != x.numel():
        raise ValueError(
            f"{op}: a tensor of shape {x.shape} ({x.numel()} elements) does not fit {tuple(shape)}"
        )
    return sizes
