"""Making tensors: from data, filled, counted through, random.

`dtype` is NumPy's; without one, floats are float32 and integers int64. A size is given as numbers
or as one tuple.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_ft.random import generator
from tinygrad_ft.tensor import Scalar, Tensor, _as_array

# ---- from data -----------------------------------------------------------------------------------


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new leaf that holds a copy of `data` (number, nested lists, ndarray or Tensor).

    ndarrays keep their dtype; Python floats become float32, ints int64. `dtype` overrides.
    """
    return Tensor(_as_array(data, dtype).copy(order="K"), requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` itself if it is a Tensor, else a tensor that shares its memory where it can."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    return Tensor(_as_array(data, dtype))


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of an ndarray."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: needs an ndarray, not {type(array).__name__}")
    return Tensor(array)


# ---- filled --------------------------------------------------------------------------------------


def zeros(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    return Tensor(np.zeros(_size("zeros", size), dtype), requires_grad)


def ones(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    return Tensor(np.ones(_size("ones", size), dtype), requires_grad)


def empty(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Not filled: whatever the memory held before."""
    return Tensor(np.empty(_size("empty", size), dtype), requires_grad)


def full(size: Any, fill_value: Scalar, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    array = Tensor(fill_value)._data if dtype is None else np.asarray(fill_value, dtype)
    return Tensor(np.full(_size("full", (size,)), array, array.dtype), requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    return Tensor(np.zeros_like(input._data, dtype=dtype), requires_grad)


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    return Tensor(np.ones_like(input._data, dtype=dtype), requires_grad)


def empty_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Not filled: whatever the memory held before."""
    return Tensor(np.empty_like(input._data, dtype=dtype), requires_grad)


def full_like(
    input: Tensor, fill_value: Scalar, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    return Tensor(np.full_like(input._data, fill_value, dtype=dtype), requires_grad)


def eye(
    n: int, m: int | None = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Ones on the diagonal of n rows and m (default n) columns."""
    rows, columns = _size("eye", (n, n if m is None else m))
    return Tensor(np.eye(rows, columns, dtype=dtype), requires_grad)


# ---- counted through -----------------------------------------------------------------------------


def arange(
    start: Scalar,
    end: Scalar | None = None,
    step: Scalar = 1,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... before `end`; `arange(end)` starts at 0."""
    first, last = (0, start) if end is None else (start, end)
    if step == 0 or (last - first) * step < 0:
        raise ValueError(f"arange: a step of {step} does not lead from {first} to {last}")
    array = np.arange(first, last, step)
    if dtype is None:
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
    return Tensor(array.astype(dtype), requires_grad)


def linspace(
    start: Scalar, end: Scalar, steps: int, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances, from `start` to `end`, both included."""
    (count,) = _size("linspace", (steps,))
    return Tensor(np.linspace(start, end, count).astype(dtype), requires_grad)


def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """The places of the lower triangle, row by row, as int64 (2, number of places)."""
    rows, columns = _size("tril_indices", (row, col))
    return Tensor(np.stack(np.tril_indices(rows, offset, columns)).astype(np.int64))


def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """The places of the upper triangle, row by row, as int64 (2, number of places)."""
    rows, columns = _size("triu_indices", (row, col))
    return Tensor(np.stack(np.triu_indices(rows, offset, columns)).astype(np.int64))


# ---- random, from the generator that `manual_seed` sets ------------------------------------------


def rand(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1)."""
    return Tensor(generator().random(_size("rand", size), dtype=dtype), requires_grad)


def randn(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Standard normal."""
    return Tensor(generator().standard_normal(_size("randn", size), dtype=dtype), requires_grad)


def rand_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), in the shape of a tensor."""
    return rand(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def randn_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal, in the shape of a tensor."""
    return randn(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def randint(
    low: int, high: Any, size: Any = None, dtype: Any = np.int64, requires_grad: bool = False
) -> Tensor:
    """Integers in [low, high); `randint(high, size)` starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(high, int | np.integer) or low >= high:
        raise ValueError(f"randint: there are no integers from {low} to before {high!r}")
    array = generator().integers(low, high, _size("randint", (size,)))
    return Tensor(array.astype(dtype), requires_grad)


def randperm(n: int, dtype: Any = np.int64) -> Tensor:
    """A random order of 0..n-1."""
    (count,) = _size("randperm", (n,))
    return Tensor(generator().permutation(count).astype(dtype))


def _size(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same; TypeError or ValueError for what is no size."""
    if len(size) == 1 and isinstance(size[0], tuple | list):
        size = tuple(size[0])
    try:
        sizes = tuple(operator.index(n) for n in size)
    except TypeError:
        raise TypeError(f"{op}: the size must be integers, not {size}") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"{op}: the size {sizes} has a negative entry")
    return sizes
