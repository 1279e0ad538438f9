"""Shared by the ops: bringing operands to one dtype, checking shapes, undoing a broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np

import kernels
from kernels.elementwise import FLAT_MINIMUM
from kernels.norm import add_to_channels, is_channels_last
from kernels.workers import catch_up, is_recorded
from tinygrad_ft.tensor import Tensor, TensorLike

_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


def raw(value: TensorLike) -> np.ndarray:
    """The ndarray behind a tensor, an array or a number."""
    return value._data if isinstance(value, Tensor) else np.asarray(value)


def plain(number: Any) -> Any:
    """A NumPy scalar as a Python number, which adapts to the dtype of what it meets."""
    return number.item() if isinstance(number, np.generic) else number


def as_tensor(value: TensorLike) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


def common_dtype(a: np.dtype, b: np.dtype) -> np.dtype:
    """PyTorch's rule on NumPy's dtypes: a float beats an integer without widening, else NumPy's."""
    if a == b:
        return a
    if a.kind == "f" and b.kind != "f":
        return a
    if b.kind == "f" and a.kind != "f":
        return b
    return np.promote_types(a, b)


def result_dtype(*arrays: np.ndarray) -> np.dtype:
    """The dtype of an elementwise op of these.

    As in PyTorch, arrays without dimensions are weak: beside one that has some they only decide if
    they are of a higher kind (boolean < integer < float).
    """
    strong = [a.dtype for a in arrays if a.ndim]
    weak = [a.dtype for a in arrays if not a.ndim]
    if not strong or not weak:
        return reduce(common_dtype, strong or weak)
    most, least = reduce(common_dtype, strong), reduce(common_dtype, weak)
    return least if _KINDS[least.kind] > _KINDS[most.kind] else most


def pair(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype whose shapes broadcast; Python numbers adapt."""
    x = a if isinstance(a, Tensor) else _beside(b, a)
    y = b if isinstance(b, Tensor) else _beside(a, b)
    if x._array.dtype != y._array.dtype:
        dtype = result_dtype(x._array, y._array)
        x, y = _cast(x, dtype), _cast(y, dtype)
    if x._array.shape != y._array.shape:
        check_broadcast(op, x.shape, y.shape)
    return x, y


def several(op: str, first: Tensor, *others: TensorLike) -> list[Tensor]:
    """`pair` for any number of operands."""
    tensors = [first, *(t if isinstance(t, Tensor) else _beside(first, t) for t in others)]
    dtype = result_dtype(*(t._data for t in tensors))
    check_broadcast(op, *(t.shape for t in tensors))
    return [_cast(t, dtype) for t in tensors]


def float_operand(op: str, x: TensorLike) -> Tensor:
    """The operand as a floating tensor (integers become float32), for functions of real numbers."""
    x = as_tensor(x)
    return x if x.dtype.kind == "f" else _cast(x, np.dtype(np.float32))


def _beside(other: TensorLike, number: TensorLike) -> Tensor:
    """A number or array beside `other`: a Python number takes the dtype of a tensor if it can."""
    if not isinstance(other, Tensor) or not isinstance(number, (int, float)):
        return Tensor(number)
    kind = other.dtype.kind
    if kind == "f" or (kind in "iu" and isinstance(number, int)):
        return Tensor._wrap(np.asarray(number, other.dtype))
    return Tensor(number)


def _cast(x: Tensor, dtype: np.dtype) -> Tensor:
    if x.dtype == dtype:
        return x
    from tinygrad_ft.ops.cast import to

    return to(x, dtype)


def check_broadcast(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the given shapes broadcast to; ValueError naming the op and the shapes."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " and ".join(str(s) for s in shapes)
        raise ValueError(f"{op}: shapes {shown} do not broadcast") from None


def normalize_dims(op: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions as a sorted tuple of non-negative numbers; None means all of them.

    IndexError if one is out of range, ValueError if one is named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int | np.integer) else tuple(dim)
    bound = max(ndim, 1)
    out = []
    for d in dims:
        if not -bound <= d < bound:
            raise IndexError(f"{op}: dim {d} is out of range for a tensor of {ndim} dimensions")
        out.append(int(d) % bound)
    if len(set(out)) != len(out):
        raise ValueError(f"{op}: dim {tuple(dims)} names a dimension twice")
    return tuple(sorted(out)) if ndim else ()


def normalize_dim(op: str, dim: int, ndim: int) -> int:
    """One dimension as a non-negative number."""
    bound = max(ndim, 1)
    if not -bound <= dim < bound:
        raise IndexError(f"{op}: dim {dim} is out of range for a tensor of {ndim} dimensions")
    return int(dim) % bound


def unbroadcast(gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum a gradient over the dimensions along which an operand of `shape` was broadcast."""
    if gradient.shape == shape:
        return gradient
    from tinygrad_ft.ops.shape import sum_to

    return sum_to(gradient, shape)


def add_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, broadcast; on all threads where that pays."""
    worth = a.size >= FLAT_MINIMUM or is_recorded()
    # arrays of different layouts: the result's must not depend on whether it is worth it
    if a.shape == b.shape and (worth or a.strides != b.strides):
        return kernels.add(a, b)
    if worth and _is_for_channels(a, b):
        return add_to_channels(a, b.reshape(-1))
    catch_up()
    with np.errstate(all="ignore"):
        return np.add(a, b)


def _is_for_channels(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether b has a number for each channel of images a, as a convolution's bias has."""
    return (
        a.ndim == 4
        and b.shape == (1, a.shape[1], 1, 1)
        and a.dtype == b.dtype == np.float32
        and a.size > 0
        and is_channels_last(a)
    )


def empty_like_layout(shape: tuple[int, ...], like: np.ndarray, later: bool = False) -> np.ndarray:
    """An uninitialised array of `shape`, its axes in memory in the order of those of `like`; with
    `later` to be filled by a kernel."""
    axes, inverse = _order_in_memory(like.strides)
    return kernels.empty([shape[d] for d in axes], like.dtype, later=later).transpose(inverse)


@lru_cache(maxsize=1024)
def _order_in_memory(strides: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The axes, the outermost in memory first, and the place of each axis among them."""
    axes = sorted(range(len(strides)), key=lambda d: -abs(strides[d]))
    return axes, [axes.index(d) for d in range(len(strides))]
