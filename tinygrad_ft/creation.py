"""Making tensors: `tensor`, `zeros`, `ones`, `full`, `arange`, `eye`, `rand`, `randn`, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.random import generator
from tinygrad_ft.tensor import Scalar, Tensor, _as_array
from tinygrad_ft.tensor_methods import variadic


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new leaf that holds a copy of `data` (number, nested lists, ndarray or Tensor).

    ndarrays keep their dtype; Python floats become float32, ints int64. `dtype` overrides.
    """
    return Tensor(_as_array(data, dtype).copy(order="K"), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of an ndarray."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: needs an ndarray, not {type(array).__name__}")
    return Tensor(array)


def zeros(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    return Tensor(np.zeros(variadic(size), dtype), requires_grad)


def ones(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    return Tensor(np.ones(variadic(size), dtype), requires_grad)


def full(size: Any, fill_value: Scalar, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    array = Tensor(fill_value)._data if dtype is None else np.asarray(fill_value, dtype)
    return Tensor(np.full(variadic((size,)), array, array.dtype), requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    return Tensor(np.zeros_like(input._data, dtype=dtype), requires_grad)


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    return Tensor(np.ones_like(input._data, dtype=dtype), requires_grad)


def arange(start: Scalar, end: Scalar | None = None, step: Scalar = 1, dtype: Any = None) -> Tensor:
    first, last = (0, start) if end is None else (start, end)
    array = np.arange(first, last, step)
    if dtype is None:
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
    return Tensor(array.astype(dtype))


def eye(n: int, m: int | None = None, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.eye(n, m, dtype=dtype))


def rand(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), from the generator that `manual_seed` sets."""
    return Tensor(generator().random(variadic(size), dtype=dtype), requires_grad)


def randn(*size: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Standard normal, from the generator that `manual_seed` sets."""
    return Tensor(generator().standard_normal(variadic(size), dtype=dtype), requires_grad)


def randint(low: int, high: int, size: Any, dtype: Any = np.int64) -> Tensor:
    """Integers in [low, high)."""
    return Tensor(generator().integers(low, high, variadic((size,)), dtype=dtype))


def randperm(n: int) -> Tensor:
    """A random order of 0..n-1."""
    return Tensor(generator().permutation(n).astype(np.int64))
