"""Shape: broadcasting and its transpose, reshape, permute, cat, stack, pad, squeeze, flatten."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import (
    as_tensor,
    common_dtype,
    empty_like_layout,
    normalize_dim,
    normalize_dims,
)
from tinygrad_ft.ops.index import getitem
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

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
    """out = x summed down to a shape that broadcasts to it;  grad_x = grad_out broadcast"""

    def forward(self, x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        lead = x.ndim - len(shape)
        dims = tuple(range(lead)) + tuple(
            lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1
        )
        return np.add.reduce(x, axis=dims, keepdims=True).reshape(shape)

    def backward(self, grad_out: Tensor) -> Grads:
        return (broadcast_to(grad_out, self.shape),)


class Reshape(Function):
    """out = the elements of x in another shape;  grad_x = grad_out in the shape of x"""

    view = True

    def forward(self, x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        out = x.reshape(shape)
        self.view = np.may_share_memory(out, x)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (reshape(grad_out, self.shape),)


class Permute(Function):
    """out = x with its dimensions in the order `dims`;  grad_x = grad_out in the inverse order"""

    view = True

    def forward(self, x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        self.inverse = tuple(int(i) for i in np.argsort(dims))
        return x.transpose(dims)

    def backward(self, grad_out: Tensor) -> Grads:
        return (permute(grad_out, self.inverse),)


class Cat(Function):
    """out = the inputs one after the other along dim;  each input gets its slice of grad_out"""

    def forward(self, *arrays: np.ndarray, dim: int) -> np.ndarray:
        self.dim = dim
        self.ends = [int(e) for e in np.cumsum([a.shape[dim] for a in arrays])]
        return np.concatenate(arrays, axis=dim)

    def backward(self, grad_out: Tensor) -> Grads:
        lead = (slice(None),) * self.dim
        starts = [0, *self.ends[:-1]]
        return tuple(
            getitem(grad_out, (*lead, slice(start, end))) if needed else None
            for start, end, needed in zip(starts, self.ends, self.needs_input_grad, strict=True)
        )


class Pad(Function):
    """out = x with a border of `value`;  grad_x = grad_out without the border

    A negative width crops; its gradient pads with zeros.
    """

    def forward(
        self, x: np.ndarray, *, widths: tuple[tuple[int, int], ...], value: Scalar
    ) -> np.ndarray:
        self.widths = widths
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
        # the same order of axes in memory as x, so that channels-last stays channels-last
        out = empty_like_layout(shape, x)
        out[...] = value
        source = tuple(
            slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True)
        )
        target = tuple(
            slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, widths, strict=True)
        )
        out[target] = x[source]
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        inverse = tuple((-a, -b) for a, b in self.widths)
        return (Pad.apply(grad_out, widths=inverse, value=0),)


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
    """`broadcast_to` in which -1 keeps a dimension's size."""
    lead = len(sizes) - input.ndim
    if lead < 0 or any(s == -1 for s in sizes[:lead]):
        raise ValueError(f"expand: sizes {tuple(sizes)} do not fit a tensor of shape {input.shape}")
    kept = (*sizes[:lead], *input.shape)
    return broadcast_to(input, tuple(k if s == -1 else s for s, k in zip(sizes, kept, strict=True)))


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The transpose of `broadcast_to`: sums over every dimension that a broadcast would repeat."""
    return input if input.shape == shape else SumTo.apply(input, shape=shape)


def reshape(input: TensorLike, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape (one entry may be -1); no copy where memory allows."""
    x = as_tensor(input)
    return x if x.shape == tuple(shape) else Reshape.apply(x, shape=_full("reshape", x, shape))


def view(input: Tensor, shape: Sequence[int]) -> Tensor:
    """`reshape` that raises ValueError instead of copying."""
    full = _full("view", input, shape)
    if not np.shares_memory(input._data.reshape(full), input._data) and input.numel():
        raise ValueError(
            f"view: shape {full} of a tensor of shape {input.shape} and strides "
            f"{input._data.strides} needs a copy; use reshape"
        )
    return reshape(input, full)


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
    """The transpose of a matrix (0 and 1 dimensions: itself)."""
    if input.ndim > 2:
        raise ValueError(f"t: needs at most 2 dimensions, got shape {input.shape}; use permute")
    return input if input.ndim < 2 else transpose(input, 0, 1)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim..end_dim as one."""
    if input.ndim == 0:
        return reshape(input, (1,))
    first = normalize_dim("flatten", start_dim, input.ndim)
    last = normalize_dim("flatten", end_dim, input.ndim)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    middle = math.prod(input.shape[first : last + 1])
    return reshape(input, (*input.shape[:first], middle, *input.shape[last + 1 :]))


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dimensions of size 1 (all of them, or those named that have size 1)."""
    dims = normalize_dims("squeeze", dim, input.ndim)
    kept = tuple(n for d, n in enumerate(input.shape) if not (n == 1 and d in dims))
    return reshape(input, kept)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    d = normalize_dim("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:d], 1, *input.shape[d:]))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; other sizes must agree."""
    if not tensors:
        raise ValueError("cat: needs at least one tensor")
    first = tensors[0]
    d = normalize_dim("cat", dim, first.ndim)
    for x in tensors:
        if (
            x.ndim != first.ndim
            or x.ndim == 0
            or any(
                m != n for i, (m, n) in enumerate(zip(x.shape, first.shape, strict=True)) if i != d
            )
        ):
            shapes = ", ".join(str(x.shape) for x in tensors)
            raise ValueError(f"cat: shapes {shapes} differ outside dim {dim}, or have no dimension")
    dtype = functools.reduce(common_dtype, [x.dtype for x in tensors])
    return Cat.apply(*[x.to(dtype) for x in tensors], dim=d)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dimension."""
    if not tensors:
        raise ValueError("stack: needs at least one tensor")
    if any(x.shape != tensors[0].shape for x in tensors):
        raise ValueError(f"stack: shapes {', '.join(str(x.shape) for x in tensors)} differ")
    return cat(
        [unsqueeze(x, dim) for x in tensors], normalize_dim("stack", dim, tensors[0].ndim + 1)
    )


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Scalar = 0) -> Tensor:
    """A border around x: `pad` = (left, right, top, bottom, ...) from the last dimension backwards.

    Negative widths crop. Mode "constant" fills with `value`.
    """
    if mode != "constant":
        raise ValueError(f"pad: mode {mode!r} is not known; use 'constant'")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"pad: {len(pad)} widths do not fit a tensor of shape {input.shape}")
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    widths = tuple([(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1])
    if any(n + a + b < 0 for n, (a, b) in zip(input.shape, widths, strict=True)):
        raise ValueError(f"pad: {tuple(pad)} crops more than shape {input.shape} has")
    return Pad.apply(input, widths=widths, value=value)


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
