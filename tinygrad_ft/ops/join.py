"""Tensors joined along a dimension, and taken apart: each is the gradient of the other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import common_dtype, normalize_dim
from tinygrad_ft.ops.shape import reshape
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]


class Cat(Function):
    """out = the inputs one after the other along dim;  grad_x_i = its part of grad_out"""

    def forward(self, *arrays: np.ndarray, dim: int) -> np.ndarray:
        self.dim = dim
        self.sizes = [a.shape[dim] for a in arrays]
        return np.concatenate(arrays, axis=dim)

    def backward(self, grad_out: Tensor) -> Grads:
        parts = Split.apply(grad_out, sizes=self.sizes, dim=self.dim)
        return _needed(parts, self.needs_input_grad)


class Split(Function):
    """out_i = parts of x in order along dim;  grad_x = the grad_out_i one after the other

    Views.
    """

    view = True

    def forward(self, x: np.ndarray, *, sizes: Sequence[int], dim: int) -> tuple[np.ndarray, ...]:
        self.dim = dim
        lead = (slice(None),) * dim
        ends = [int(e) for e in np.cumsum(sizes)]
        return tuple([x[(*lead, slice(e - n, e))] for n, e in zip(sizes, ends, strict=True)])

    def backward(self, *grad_outs: Tensor) -> Grads:
        return (Cat.apply(*grad_outs, dim=self.dim),)


class Stack(Function):
    """out = the inputs side by side along a new dimension;  grad_x_i = its slice of grad_out"""

    def forward(self, *arrays: np.ndarray, dim: int) -> np.ndarray:
        self.dim = dim
        return np.stack(arrays, axis=dim)

    def backward(self, grad_out: Tensor) -> Grads:
        return _needed(Unbind.apply(grad_out, dim=self.dim), self.needs_input_grad)


class Unbind(Function):
    """out_i = the slices of x along dim;  grad_x = the grad_out_i side by side along dim

    Views.
    """

    view = True

    def forward(self, x: np.ndarray, *, dim: int) -> tuple[np.ndarray, ...]:
        self.dim = dim
        lead: tuple[Any, ...] = (slice(None),) * dim
        # the ellipsis makes a view of what is only one number, too
        return tuple([x[(*lead, i, ...)] for i in range(x.shape[dim])])

    def backward(self, *grad_outs: Tensor) -> Grads:
        return (Stack.apply(*grad_outs, dim=self.dim),)


def _needed(parts: tuple[Tensor, ...], needed: tuple[bool, ...]) -> Grads:
    return tuple([p if n else None for p, n in zip(parts, needed, strict=True)])


# ---- what users call -----------------------------------------------------------------------------


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; other sizes must agree.

    A tensor of shape (0,) fits everywhere and adds nothing, so that a list may start with one.
    """
    tensors = _one_dtype(list(tensors))
    if not tensors:
        raise ValueError("cat: needs at least one tensor")
    if any(x.ndim != 1 for x in tensors):
        tensors = [x for x in tensors if x.shape != (0,)]
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
    return Cat.apply(*tensors, dim=d)


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Another name of `cat`.

    out = the inputs one after the other along dim
    grad_x_i = its part of grad_out
    """
    return cat(tensors, dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dimension."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError("stack: needs at least one tensor")
    if any(x.shape != tensors[0].shape for x in tensors):
        raise ValueError(f"stack: shapes {', '.join(str(x.shape) for x in tensors)} differ")
    d = normalize_dim("stack", dim, tensors[0].ndim + 1)
    return Stack.apply(*_one_dtype(tensors), dim=d)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: `cat` along dimension 1, along 0 for vectors and numbers.

    out = the inputs one after the other along dimension 1
    grad_x_i = its part of grad_out
    """
    wide = [x if x.ndim else reshape(x, (1,)) for x in tensors]
    return cat(wide, 0 if wide and wide[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other: `cat` along dimension 0; vectors and numbers are rows.

    out = the inputs one after the other along dimension 0
    grad_x_i = its part of grad_out
    """
    return cat([x if x.ndim > 1 else reshape(x, (1, -1)) for x in tensors], 0)


def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Parts along `dim`: all of one size but the last, or of the sizes that are listed. Views."""
    if not isinstance(split_size_or_sections, int | np.integer):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    d, total = _to_split("split", tensor, dim)
    size = int(split_size_or_sections)
    if size < 0 or (size == 0 and total):
        raise ValueError(f"split: the size of a part must be positive, got {size}")
    count = max(-(-total // size), 1) if size else 1
    sizes = [size] * (count - 1) + [total - size * (count - 1)]
    return Split.apply(tensor, sizes=sizes, dim=d)


def split_with_sizes(
    tensor: Tensor, split_sizes: Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Parts of the listed sizes along `dim`. Views."""
    d, total = _to_split("split", tensor, dim)
    sizes = [int(n) for n in split_sizes]
    if sum(sizes) != total or any(n < 0 for n in sizes):
        raise ValueError(f"split: sizes {sizes} do not add up to {total}, the size of dim {d}")
    return Split.apply(tensor, sizes=sizes, dim=d)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts along `dim`, all of one size but the last. Views."""
    if chunks < 1:
        raise ValueError(f"chunk: needs at least one part, got {chunks}")
    d, total = _to_split("chunk", input, dim)
    if total == 0:
        return Split.apply(input, sizes=[0] * chunks, dim=d)
    size = -(-total // chunks)
    count = -(-total // size)
    sizes = [size] * (count - 1) + [total - size * (count - 1)]
    return Split.apply(input, sizes=sizes, dim=d)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, which has gone from their shapes. Views."""
    d, _ = _to_split("unbind", input, dim)
    return Unbind.apply(input, dim=d)


def _to_split(op: str, x: Tensor, dim: int) -> tuple[int, int]:
    if x.ndim == 0:
        raise ValueError(f"{op}: a tensor without dimensions cannot be taken apart")
    d = normalize_dim(op, dim, x.ndim)
    return d, x.shape[d]


def _one_dtype(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not tensors:
        return []
    dtype = functools.reduce(common_dtype, [x.dtype for x in tensors])
    return [x.to(dtype) for x in tensors]
