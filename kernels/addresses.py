"""Where an array's memory begins.

A training step asks for thousands of addresses. `array.ctypes.data` makes three objects for each
(1.6 us); here the pointer is read from the array itself (0.2 us), where NumPy's C interface puts
it: right behind the head that every Python object has. That is checked at import; an interpreter
that keeps its objects elsewhere gets NumPy's own way.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_HEAD = object.__basicsize__
_read = ctypes.c_size_t.from_address


def _behind_the_head(array: Any) -> int:
    return _read(id(array) + _HEAD).value


def _all_behind_the_head(values: Sequence[Any]) -> list[int]:
    return [v if type(v) is int else _read(id(v) + _HEAD).value for v in values]


def _by_numpy(array: Any) -> int:
    return int(array.ctypes.data)


def _all_by_numpy(values: Sequence[Any]) -> list[int]:
    return [v if type(v) is int else _by_numpy(v) for v in values]


def _head_can_be_read() -> bool:
    if sys.implementation.name != "cpython" or np.ndarray.__basicsize__ < _HEAD + 8:
        return False
    probes = (np.empty(3), np.empty((2, 5), np.float32)[1:, ::2], np.empty(0, np.int8))
    return all(_behind_the_head(p) == _by_numpy(p) for p in probes)


_quick = _head_can_be_read()

address: Callable[[Any], int] = _behind_the_head if _quick else _by_numpy
"""The address of an array's first element, as an integer. The array must be a NumPy array: it is
not checked."""

addresses: Callable[[Sequence[Any]], list[int]] = _all_behind_the_head if _quick else _all_by_numpy
"""The same for each array among some values; the others are integers, which stay as they are."""
