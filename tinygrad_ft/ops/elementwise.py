"""Elementwise arithmetic. Formulas: `out` the result, `grad_x` the gradient of x given `grad_out`.

Operands broadcast as in NumPy; a gradient is summed back over the dimensions that were broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.ops._broadcasting import Broadcasting
from tinygrad_ft.ops._operands import (
    add_arrays,
    as_tensor,
    float_operand,
    pair,
    plain,
    several,
)
from tinygrad_ft.ops.rounding import RoundingMode, rounded_div
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.unary import log
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Add(Broadcasting):
    """out = a + b;  grad_a = grad_out,  grad_b = grad_out"""

    runs_ahead = True

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        return add_arrays(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, grad_out) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Sub(Broadcasting):
    """out = a - b;  grad_a = grad_out,  grad_b = -grad_out"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        return a - b

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out) if self.needs_input_grad[0] else None
        grad_b = -self.fit(1, grad_out) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Mul(Broadcasting):
    """out = a * b;  grad_a = grad_out * b,  grad_b = grad_out * a"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=0)
        return a * b

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out * self.input(1)) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, grad_out * self.input(0)) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Div(Broadcasting):
    """out = a / b;  grad_a = grad_out / b,  grad_b = -grad_out * a / b^2"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0, needed_by=1)
        self.save_input(1)
        return a / b

    def backward(self, grad_out: Tensor) -> Grads:
        b = self.input(1)
        quotient = grad_out / b
        grad_a = self.fit(0, quotient) if self.needs_input_grad[0] else None
        grad_b = -self.fit(1, quotient * self.input(0) / b) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Neg(Function):
    """out = -x;  grad_x = -grad_out"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return -x

    def backward(self, grad_out: Tensor) -> Grads:
        return (-grad_out,)


class Pow(Function):
    """out = x^n;  grad_x = grad_out * n * x^(n - 1)

    n is a number and no tensor.
    """

    def forward(self, x: np.ndarray, *, exponent: float) -> np.ndarray:
        self.exponent = exponent
        self.save_input(0)
        return _power(x, exponent)

    def backward(self, grad_out: Tensor) -> Grads:
        n = self.exponent
        if n == 0:
            return (grad_out * 0.0,)
        return (grad_out * (n * pow(self.input(0), n - 1)),)


class PowTensor(Broadcasting):
    """out = a^b;  grad_a = grad_out * b * a^(b - 1),  grad_b = grad_out * a^b * ln a

    Where a = 0 and b >= 0 the gradient of b is 0 (the limit), as in PyTorch.
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0)
        self.save_input(1)
        return _power(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        a, b = self.input(0), self.input(1)
        grad_a = grad_b = None
        if self.needs_input_grad[0]:
            zero = b._data == 0
            slope = where(zero, 0.0, b * pow(a, where(zero, 1.0, b - 1.0)))
            grad_a = self.fit(0, grad_out * slope)
        if self.needs_input_grad[1]:
            flat = (a._data == 0) & (b._data >= 0)
            slope = where(flat, 0.0, pow(a, b) * log(where(flat, 1.0, a)))
            grad_b = self.fit(1, grad_out * slope)
        return grad_a, grad_b


def _power(base: np.ndarray, exponent: Any) -> np.ndarray:
    if base.dtype.kind == "f":
        return np.asarray(base**exponent)
    if np.any(np.less(exponent, 0)):
        raise ValueError(
            f"pow: {base.dtype} of shape {base.shape} to a negative power is a fraction; convert "
            "the base to float first"
        )
    if base.dtype != np.bool_:
        return np.asarray(base**exponent)
    # where NumPy makes int8: a power of booleans is one, and with an integer it is int64
    kept = np.result_type(base, exponent) == np.bool_
    return np.asarray(base.astype(np.int64) ** exponent).astype(np.bool_ if kept else np.int64)


class Atan2(Broadcasting):
    """out = atan2(a, b);  grad_a = grad_out * b / (a^2 + b^2),
    grad_b = -grad_out * a / (a^2 + b^2)

    At the origin, which has no direction, the gradient is 0.
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0)
        self.save_input(1)
        return np.arctan2(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        a, b = self.input(0), self.input(1)
        square = a * a + b * b
        share = grad_out / where(square._data == 0, 1.0, square)
        grad_a = self.fit(0, share * b) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, -share * a) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Lerp(Broadcasting):
    """out = a + w * (b - a);  grad_a = grad_out * (1 - w),  grad_b = grad_out * w,
    grad_w = grad_out * (b - a)"""

    def forward(self, a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b, w)
        self.save_input(0, needed_by=2)
        self.save_input(1, needed_by=2)
        self.save_input(2)
        # from the nearer end, so that w = 0 gives exactly a and w = 1 exactly b
        return np.where(np.abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w))

    def backward(self, grad_out: Tensor) -> Grads:
        w = self.input(2)
        grad_a = self.fit(0, grad_out * (1.0 - w)) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, grad_out * w) if self.needs_input_grad[1] else None
        grad_w = None
        if self.needs_input_grad[2]:
            grad_w = self.fit(2, grad_out * (self.input(1) - self.input(0)))
        return grad_a, grad_b, grad_w


# ---- what users call -----------------------------------------------------------------------------


def add(input: TensorLike, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
    """a + alpha * b, broadcast.

    out = a + alpha * b
    grad_a = grad_out
    grad_b = grad_out * alpha
    """
    if alpha == 1:
        if isinstance(input, Deferred) and (together := input.then_add(other)) is not None:
            return together
        if isinstance(other, Deferred) and (together := other.then_add(input)) is not None:
            return together
    x, y = pair("add", input, other)
    return Add.apply(x, y if alpha == 1 else _scaled("add", y, alpha))


def sub(input: TensorLike, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
    """a - alpha * b, broadcast.

    out = a - alpha * b
    grad_a = grad_out
    grad_b = -grad_out * alpha
    """
    x, y = pair("sub", input, other)
    return Sub.apply(x, y if alpha == 1 else _scaled("sub", y, alpha))


def _scaled(op: str, other: Tensor, alpha: Scalar) -> Tensor:
    """other * alpha; TypeError where that would turn integers into floats."""
    if other.dtype.kind != "f" and isinstance(alpha, float):
        raise TypeError(f"{op}: alpha={alpha} is a float, but the operands are {other.dtype}")
    return mul(other, alpha)


def mul(input: TensorLike, other: TensorLike) -> Tensor:
    """a * b, elementwise, broadcast."""
    return Mul.apply(*pair("mul", input, other))


def div(
    input: TensorLike, other: TensorLike, *, rounding_mode: RoundingMode | None = None
) -> Tensor:
    """a / b, elementwise, broadcast; integers are divided as float32.

    With `rounding_mode` "floor" (down) or "trunc" (towards 0) the quotient is rounded, has no
    gradient but 0, and is an integer for integers; these raise ZeroDivisionError at a 0.
    """
    if rounding_mode is not None:
        return rounded_div("div", input, other, rounding_mode)
    x, y = pair("div", input, other)
    return Div.apply(float_operand("div", x), float_operand("div", y))


def neg(input: TensorLike) -> Tensor:
    """-x"""
    return Neg.apply(as_tensor(input))


def pow(input: TensorLike, exponent: TensorLike) -> Tensor:
    """input ** exponent, elementwise, broadcast; a Python number as exponent is the fast case."""
    if isinstance(input, Tensor) and isinstance(exponent, int | float):
        if input.dtype.kind != "f" and isinstance(exponent, float):
            input = float_operand("pow", input)
        return Pow.apply(input, exponent=plain(exponent))
    return PowTensor.apply(*pair("pow", input, exponent))


def atan2(input: TensorLike, other: TensorLike) -> Tensor:
    """The angle from -pi to pi of the point (x, y) = (other, input), in the right quadrant."""
    a, b = pair("atan2", input, other)
    return Atan2.apply(float_operand("atan2", a), float_operand("atan2", b))


def lerp(input: TensorLike, end: TensorLike, weight: TensorLike) -> Tensor:
    """From `input` (weight 0) to `end` (weight 1) in a straight line; all three broadcast."""
    a, b = pair("lerp", input, end)
    return Lerp.apply(*several("lerp", float_operand("lerp", a), b, weight))
