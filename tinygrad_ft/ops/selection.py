"""Ops that choose: the larger, the smaller, one or the other by a mask, a value or its limit."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._broadcasting import Broadcasting
from tinygrad_ft.ops._operands import (
    as_tensor,
    check_broadcast,
    float_operand,
    pair,
    plain,
    several,
)
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Maximum(Broadcasting):
    """out = max(a, b);  grad_a = grad_out where a > b, else grad_out / 2 where a = b, else 0;
    grad_b = grad_out where b > a, else grad_out / 2 where a = b, else 0

    A NaN counts as equal: each operand gets half.
    """

    larger: Any = staticmethod(np.greater)
    choose: Any = staticmethod(np.maximum)

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        # twice the share of a: 2 where it is chosen, 0 where b is, 1 where equal or one is NaN
        a_wins, b_wins = self.larger(a, b), self.larger(b, a)
        self.save_constant("share", np.subtract(a_wins, b_wins, dtype=np.int8) + np.int8(1))
        return self.choose(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        share = self.constant("share").astype(grad_out.dtype) / grad_out.dtype.type(2)
        grad_a = self.fit(0, grad_out * Tensor._wrap(share)) if self.needs_input_grad[0] else None
        rest = Tensor._wrap(1 - share)
        grad_b = self.fit(1, grad_out * rest) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Minimum(Maximum):
    """out = min(a, b);  grad_a = grad_out where a < b, else grad_out / 2 where a = b, else 0;
    grad_b = grad_out where b < a, else grad_out / 2 where a = b, else 0"""

    larger = staticmethod(np.less)
    choose = staticmethod(np.minimum)


class Where(Broadcasting):
    """out = a where mask, else b;  grad_a = grad_out where mask, else 0;
    grad_b = 0 where mask, else grad_out"""

    def forward(self, a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(2)
        return np.where(mask, a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        mask = self.input(2)
        grad_a = self.fit(0, where(mask, grad_out, 0.0)) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, where(mask, 0.0, grad_out)) if self.needs_input_grad[1] else None
        return grad_a, grad_b, None


class Clamp(Function):
    """out = min(max(x, low), high);  grad_x = grad_out where low <= x and x <= high, else 0"""

    def forward(self, x: np.ndarray, *, low: Scalar | None, high: Scalar | None) -> np.ndarray:
        inside = np.ones(x.shape, np.bool_)
        if low is not None:
            inside &= x >= low
        if high is not None:
            inside &= x <= high
        self.save_constant("inside", inside)
        return np.clip(x, low, high)

    def backward(self, grad_out: Tensor) -> Grads:
        return (where(self.constant("inside"), grad_out, 0.0),)


class ClampTensor(Broadcasting):
    """out = min(max(x, low), high);  grad_x = grad_out where low <= x and x <= high, else 0;
    grad_low = grad_out where x < low and low < high, else 0;
    grad_high = grad_out where high < x or high < low, else 0

    Where a limit is above the other, `high` is the result. An absent limit does not limit.
    """

    def forward(self, x: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> np.ndarray:
        self.remember_shapes(x, low, high)
        out = x if low is None else np.maximum(x, low)
        out = out if high is None else np.minimum(out, high)
        below = np.zeros(out.shape, np.bool_) if low is None else np.less(x, low)
        above = np.zeros(out.shape, np.bool_) if high is None else np.greater(x, high)
        if low is not None and high is not None:
            below, above = below & (low < high), above | (high < low)
        self.save_constant("below", below)
        self.save_constant("above", above)
        inside = np.ones(out.shape, np.bool_)
        if low is not None:
            inside &= np.greater_equal(x, low)
        if high is not None:
            inside &= np.less_equal(x, high)
        self.save_constant("inside", inside)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return tuple(
            self.fit(i, where(self.constant(name), grad_out, 0.0)) if needed else None
            for i, (name, needed) in enumerate(
                zip(("inside", "below", "above"), self.needs_input_grad, strict=True)
            )
        )


# ---- what users call -----------------------------------------------------------------------------


def maximum(input: TensorLike, other: TensorLike) -> Tensor:
    """The larger of the two, elementwise; a NaN wins."""
    return Maximum.apply(*pair("maximum", input, other))


def minimum(input: TensorLike, other: TensorLike) -> Tensor:
    """The smaller of the two, elementwise; a NaN wins."""
    return Minimum.apply(*pair("minimum", input, other))


@overload
def where(condition: TensorLike) -> tuple[Tensor, ...]: ...
@overload
def where(condition: TensorLike, input: TensorLike, other: TensorLike) -> Tensor: ...
def where(
    condition: TensorLike, input: TensorLike | None = None, other: TensorLike | None = None
) -> Tensor | tuple[Tensor, ...]:
    """a where `condition` (boolean) holds, else b; all three broadcast.

    `where(condition)` alone gives the places where it is not 0: one index tensor a dimension.
    """
    mask = as_tensor(condition)
    if input is None and other is None:
        return tuple(Tensor._wrap(places) for places in np.nonzero(np.atleast_1d(mask._data)))
    if input is None or other is None:
        raise ValueError("where: give both values, or the condition alone")
    if mask.dtype != np.bool_:
        raise TypeError(f"where: the condition must be boolean, not {mask.dtype}")
    x, y = pair("where", input, other)
    check_broadcast("where", mask.shape, x.shape, y.shape)
    return Where.apply(x, y, mask)


def clamp(
    input: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None
) -> Tensor:
    """x limited to [min, max], numbers or tensors; the gradient passes at the limits themselves."""
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    x = as_tensor(input)
    if all(limit is None or isinstance(limit, bool | int | float) for limit in (min, max)):
        if x.dtype.kind != "f" and (isinstance(min, float) or isinstance(max, float)):
            x = float_operand("clamp", x)
        return Clamp.apply(x, low=plain(min), high=plain(max))
    x, *limits = several("clamp", x, *(limit for limit in (min, max) if limit is not None))
    low = None if min is None else limits[0]
    return ClampTensor.apply(x, low, None if max is None else limits[-1])


clip = clamp
