"""Comparisons and logic: boolean results, without a gradient."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, check_broadcast, plain, raw, result_dtype
from tinygrad_ft.tensor import Tensor, TensorLike


class Comparison(Protocol):
    """A public function of two operands, tensors or numbers."""

    __name__: str

    def __call__(self, input: TensorLike, other: TensorLike) -> Tensor: ...


def _operands(op: str, a: TensorLike, b: TensorLike) -> tuple[Any, Any]:
    """Arrays of one dtype whose shapes broadcast; a Python number stays one and adapts."""
    x: Any = plain(a) if isinstance(a, bool | int | float) else as_tensor(a)._data
    y: Any = plain(b) if isinstance(b, bool | int | float) else as_tensor(b)._data
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        check_broadcast(op, x.shape, y.shape)
        if x.dtype != y.dtype:
            dtype = result_dtype(x, y)
            x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    return x, y


def _comparison(name: str, ufunc: np.ufunc, summary: str, formula: str) -> Comparison:
    def op(input: TensorLike, other: TensorLike) -> Tensor:
        x, y = _operands(name, input, other)
        try:
            return Tensor._wrap(ufunc(x, y))
        except TypeError:
            kinds = " and ".join(str(getattr(v, "dtype", type(v).__name__)) for v in (x, y))
            raise TypeError(f"{name}: needs booleans or integers, not {kinds}") from None

    op.__name__ = op.__qualname__ = name
    op.__doc__ = f"{summary}; elementwise, broadcast, without a gradient.\n\nout = ({formula})"
    return op


eq = _comparison("eq", np.equal, "Whether both are equal", "a = b")
ne = _comparison("ne", np.not_equal, "Whether they differ", "a != b")
lt = _comparison("lt", np.less, "Whether a is less", "a < b")
le = _comparison("le", np.less_equal, "Whether a is not greater", "a <= b")
gt = _comparison("gt", np.greater, "Whether a is greater", "a > b")
ge = _comparison("ge", np.greater_equal, "Whether a is not less", "a >= b")
logical_and = _comparison(
    "logical_and", np.logical_and, "Whether neither is 0", "a != 0 and b != 0"
)
logical_or = _comparison("logical_or", np.logical_or, "Whether not both are 0", "a != 0 or b != 0")
logical_xor = _comparison(
    "logical_xor", np.logical_xor, "Whether one alone is not 0", "(a = 0) != (b = 0)"
)
# the operators & | ^
bitwise_and = _comparison(
    "bitwise_and", np.bitwise_and, "a & b of booleans or of bits", "a and b for each bit"
)
bitwise_or = _comparison(
    "bitwise_or", np.bitwise_or, "a | b of booleans or of bits", "a or b for each bit"
)
bitwise_xor = _comparison(
    "bitwise_xor", np.bitwise_xor, "a ^ b of booleans or of bits", "a != b for each bit"
)


def comparable(other: Any) -> bool:
    """Whether an operator can compare a tensor with it; else Python asks the other side."""
    return isinstance(other, Tensor | np.ndarray | np.generic | bool | int | float | list)


def logical_not(input: TensorLike) -> Tensor:
    """True where x is 0 or False; no gradient.

    out = (x = 0)
    """
    return Tensor._wrap(np.logical_not(raw(input)))


def invert(input: TensorLike) -> Tensor:
    """Logical not of booleans, bitwise not of integers; the operator ~."""
    x = raw(input)
    if x.dtype.kind == "f":
        raise TypeError(f"invert: needs booleans or integers, not {x.dtype}")
    return Tensor._wrap(np.invert(x))


def isnan(input: TensorLike) -> Tensor:
    """True where x is NaN; no gradient.

    out = (x != x)
    """
    return Tensor._wrap(np.isnan(raw(input)))


def isinf(input: TensorLike) -> Tensor:
    """True where x is infinite, of either sign; no gradient.

    out = (|x| = inf)
    """
    return Tensor._wrap(np.isinf(raw(input)))


def isfinite(input: TensorLike) -> Tensor:
    """True where x is neither infinite nor NaN; no gradient.

    out = (|x| < inf)
    """
    return Tensor._wrap(np.isfinite(raw(input)))


def isclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:
    """Whether both are almost equal; elementwise, broadcast, without a gradient.

    out = (|a - b| <= atol + rtol * |b|)

    Infinities are close to themselves, and NaN to NaN if `equal_nan`.
    """
    x, y = _operands("isclose", input, other)
    with np.errstate(all="ignore"):
        return Tensor._wrap(np.isclose(x, y, rtol, atol, equal_nan))


def allclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether all elements are close in the sense of `isclose`: a Python bool.

    out = (|a - b| <= atol + rtol * |b| for all elements)
    """
    return bool(isclose(input, other, rtol, atol, equal_nan)._data.all())


def equal(input: TensorLike, other: TensorLike) -> bool:
    """Whether shape and all values are the same: a Python bool. A NaN equals nothing.

    out = (a = b for all elements)
    """
    a, b = raw(input), raw(other)
    if a.shape != b.shape:
        return False
    x, y = _operands("equal", a, b)
    return bool(np.equal(x, y).all())
