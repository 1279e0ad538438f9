"""Indices taken apart: x[index] = x[view][parts], a view and then a pick.

Slices, integers, `...` and None make a view. What is left are arrays: `parts` has a whole slice or
an array of non-negative integers for each dimension of the view, with at least one array, so that
NumPy's x[view][parts] needs no further look at it.

The rules are PyTorch's: integers (and integer arrays without dimensions) are taken before arrays,
as in x[0][:, rows] for x[0, :, rows], where NumPy would count the 0 as one more array. The
dimensions of the arrays stand where the arrays stood, or first if something separates them. A
boolean array of k dimensions picks from k dimensions and means its `nonzero()`. Steps may be
negative, as in NumPy.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_ft.tensor import Tensor

Parts = tuple[Any, ...]
WHOLE = slice(None)


def take_apart(index: Any, shape: tuple[int, ...]) -> tuple[Parts, Parts | None]:
    """`view` and `parts` of an index of an array of that shape; None if the view is all.

    Arrays are copied and checked, as the shape alone allows; the view is left to NumPy. Raises
    IndexError.
    """
    items = [_plain(i) for i in (index if isinstance(index, tuple) else (index,))]
    if not any(isinstance(i, np.ndarray) for i in items):
        return tuple(items), None
    used = sum(_dimensions(i) for i in items)
    if used > len(shape):
        raise IndexError(f"too many indices: {used} for {len(shape)} dimensions")
    dots = [n for n, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("more than one ellipsis")
    if dots:
        items[dots[0] : dots[0] + 1] = [WHOLE] * (len(shape) - used)
    view: list[Any] = []
    parts: list[Any] = []
    dim = 0
    for item in items:
        if isinstance(item, np.ndarray):
            # without dimensions: True is a new dimension of size 1, False one of size 0
            view.extend([WHOLE] * _dimensions(item) if item.ndim else [None])
            parts.extend(_positions(item, shape, dim))
        else:
            view.append(item)
            if item is None or isinstance(item, slice):
                parts.append(WHOLE)
        dim += _dimensions(item)
    arrays = [p for p in parts if isinstance(p, np.ndarray)]
    try:
        np.broadcast_shapes(*[a.shape for a in arrays])
    except ValueError:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise IndexError(f"index arrays of shapes {shapes} do not broadcast") from None
    return tuple(view), tuple(parts)


def checked(where: str, index: np.ndarray, size: int, negative: bool = False) -> np.ndarray:
    """A copy of an integer array whose entries lie in a dimension of that size, else IndexError.

    With `negative`, entries below 0 count from the end.
    """
    out = index.astype(np.intp)
    if out.size:
        low, high = out.min(), out.max()
        if high >= size or low < (-size if negative else 0):
            wrong = high if high >= size else low
            raise IndexError(f"{where}: index {wrong} is out of range for a size of {size}")
        if low < 0:
            out[out < 0] += size
    return out


def flat_positions(parts: Parts, shape: Sequence[int]) -> np.ndarray:
    """Where the elements that `parts` pick lie, counted over the dimensions that have arrays."""
    places: Any = 0
    for part, size in zip(parts, shape, strict=False):
        if isinstance(part, np.ndarray):
            places = places * size + part
    return np.asarray(places)


def dims_of_arrays(parts: Parts) -> tuple[list[int], int]:
    """The dimensions of the view with arrays, and where the arrays' own stand in the result."""
    dims = [d for d, part in enumerate(parts) if isinstance(part, np.ndarray)]
    together = dims[-1] - dims[0] == len(dims) - 1
    return dims, dims[0] if together else 0


def picked_shape(parts: Parts, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of x[parts] for an x of that shape."""
    dims, first = dims_of_arrays(parts)
    rest = [n for d, n in enumerate(shape) if d not in dims]
    own = np.broadcast_shapes(*[parts[d].shape for d in dims])
    return (*rest[:first], *own, *rest[first:])


def _plain(item: Any) -> Any:
    """None, an Ellipsis, a slice of ints, an int, or an array of integers or booleans."""
    if item is None or item is Ellipsis or type(item) is int:
        return item
    if isinstance(item, slice):
        bounds = (item.start, item.stop, item.step)
        if all(b is None or type(b) is int for b in bounds):
            return item
        return slice(*[None if b is None else _int(b) for b in bounds])
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return int(item)
    try:
        array = item._data if isinstance(item, Tensor) else np.asarray(item)
    except ValueError as error:
        raise IndexError(f"the list {item!r} does not form an array: {error}") from None
    if array.dtype.kind in "iu":
        return array if array.ndim else int(array)
    if array.dtype.kind == "b":
        return array
    if array.size == 0 and isinstance(item, list | tuple):
        return array.astype(np.intp)
    raise IndexError(
        f"an index may be an integer, a slice, `...`, None, or an array of integers or booleans, "
        f"not {type(item).__name__} of {array.dtype}"
    )


def _int(bound: Any) -> int:
    try:
        return operator.index(bound)
    except TypeError:
        raise IndexError(f"a slice needs integers, not {bound!r}") from None


def _dimensions(item: Any) -> int:
    """How many dimensions of the indexed array an item uses up."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1


def _positions(array: np.ndarray, shape: tuple[int, ...], dim: int) -> list[np.ndarray]:
    """An array of the index as one of non-negative integers for each dimension that it uses."""
    if array.dtype.kind != "b":
        return [checked(f"dim {dim}", array, shape[dim], negative=True)]
    if array.ndim == 0:
        return [np.zeros(int(array), np.intp)]
    if array.shape != shape[dim : dim + array.ndim]:
        raise IndexError(
            f"a mask of shape {array.shape} does not fit dimensions {dim} to "
            f"{dim + array.ndim - 1}, of sizes {shape[dim : dim + array.ndim]}"
        )
    return list(array.nonzero())
