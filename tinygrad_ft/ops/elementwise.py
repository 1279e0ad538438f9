"""Elementwise arithmetic. Formulas: `out` the result, `grad_x` the gradient of x given `grad_out`.

Operands broadcast as in NumPy; a gradient is summed back over the dimensions that were broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import (
    add_arrays,
    as_tensor,
    check_broadcast,
    common_dtype,
    float_operand,
    pair,
    plain,
    raw,
    unbroadcast,
)
from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Binary(Function):
    """Shared by the ops of two operands: undoing the broadcast of the two gradients."""

    def remember_shapes(self, a: np.ndarray, b: np.ndarray) -> None:
        self.shapes = (a.shape, b.shape)

    def fit(self, index: int, gradient: Tensor) -> Tensor:
        return unbroadcast(gradient, self.shapes[index])


class Add(Binary):
    """out = a + b;  grad_a = grad_out,  grad_b = grad_out"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        return add_arrays(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out) if self.needs_input_grad[0] else None
        grad_b = self.fit(1, grad_out) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Sub(Binary):
    """out = a - b;  grad_a = grad_out,  grad_b = -grad_out"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        return a - b

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out) if self.needs_input_grad[0] else None
        grad_b = -self.fit(1, grad_out) if self.needs_input_grad[1] else None
        return grad_a, grad_b


class Mul(Binary):
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


class Div(Binary):
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
    """out = x^n, n a number;  grad_x = grad_out * n * x^(n - 1)"""

    def forward(self, x: np.ndarray, *, exponent: float) -> np.ndarray:
        self.exponent = exponent
        self.save_input(0)
        return x**exponent

    def backward(self, grad_out: Tensor) -> Grads:
        n = self.exponent
        if n == 0:
            return (grad_out * 0.0,)
        return (grad_out * (n * pow(self.input(0), n - 1)),)


class PowTensor(Binary):
    """out = a^b;  grad_a = grad_out * b * a^(b - 1),  grad_b = grad_out * a^b * log(a)

    Where a = 0 and b >= 0 the gradient of b is 0 (the limit), as in PyTorch.
    """

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0)
        self.save_input(1)
        return a**b

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


class Exp(Function):
    """out = e^x;  grad_x = grad_out * out"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_output()
        return np.exp(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out * self.output(),)


class Log(Function):
    """out = ln x;  grad_x = grad_out / x"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_input(0)
        return np.log(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out / self.input(0),)


class Sqrt(Function):
    """out = sqrt(x);  grad_x = grad_out / (2 * out)"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_output()
        return np.sqrt(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out / (self.output() * 2.0),)


class Sin(Function):
    """out = sin x;  grad_x = grad_out * cos x"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_input(0)
        return np.sin(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out * cos(self.input(0)),)


class Cos(Function):
    """out = cos x;  grad_x = -grad_out * sin x"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_input(0)
        return np.cos(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (-grad_out * sin(self.input(0)),)


class Abs(Function):
    """out = |x|;  grad_x = grad_out * sign(x), 0 at x = 0"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_constant("sign", np.subtract(x > 0, x < 0, dtype=np.int8))
        return np.abs(x)

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out * Tensor._wrap(self.constant("sign").astype(grad_out.dtype)),)


class Maximum(Binary):
    """out = max(a, b);  the larger operand gets grad_out; where a = b each gets half"""

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
    """out = min(a, b);  the smaller operand gets grad_out; where a = b each gets half"""

    larger = staticmethod(np.less)
    choose = staticmethod(np.minimum)


class Where(Binary):
    """out = a where mask else b;  grad_a = grad_out where mask else 0,  grad_b the other way"""

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
    """out = min(max(x, low), high);  grad_x = grad_out where low <= x <= high, else 0"""

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


# ---- what users call -----------------------------------------------------------------------------


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """a + b, broadcast."""
    if isinstance(a, Deferred) and (together := a.then_add(b)) is not None:
        return together
    if isinstance(b, Deferred) and (together := b.then_add(a)) is not None:
        return together
    return Add.apply(*pair("add", a, b))


def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b, broadcast."""
    return Sub.apply(*pair("sub", a, b))


def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """a * b, elementwise, broadcast."""
    return Mul.apply(*pair("mul", a, b))


def div(a: TensorLike, b: TensorLike) -> Tensor:
    """a / b, elementwise, broadcast; integers are divided as float32."""
    x, y = pair("div", a, b)
    return Div.apply(float_operand("div", x), float_operand("div", y))


def neg(x: TensorLike) -> Tensor:
    """-x"""
    return Neg.apply(as_tensor(x))


def pow(base: TensorLike, exponent: TensorLike) -> Tensor:
    """base ** exponent, elementwise, broadcast; a Python number as exponent is the fast case."""
    if isinstance(base, Tensor) and isinstance(exponent, int | float):
        if base.dtype.kind != "f" and isinstance(exponent, float):
            base = float_operand("pow", base)
        return Pow.apply(base, exponent=plain(exponent))
    return PowTensor.apply(*pair("pow", base, exponent))


def exp(x: TensorLike) -> Tensor:
    """e^x"""
    return Exp.apply(float_operand("exp", x))


def log(x: TensorLike) -> Tensor:
    """The natural logarithm."""
    return Log.apply(float_operand("log", x))


def sqrt(x: TensorLike) -> Tensor:
    """The square root."""
    return Sqrt.apply(float_operand("sqrt", x))


def sin(x: TensorLike) -> Tensor:
    """The sine, x in radians."""
    return Sin.apply(float_operand("sin", x))


def cos(x: TensorLike) -> Tensor:
    """The cosine, x in radians."""
    return Cos.apply(float_operand("cos", x))


def abs(x: TensorLike) -> Tensor:
    """|x|; its derivative at 0 is taken as 0."""
    return Abs.apply(as_tensor(x))


def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of the two, elementwise; a NaN wins."""
    return Maximum.apply(*pair("maximum", a, b))


def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of the two, elementwise; a NaN wins."""
    return Minimum.apply(*pair("minimum", a, b))


def where(condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    """a where `condition` (boolean) holds, else b; all three broadcast."""
    mask = as_tensor(condition)
    if mask.dtype != np.bool_:
        raise TypeError(f"where: the condition must be boolean, not {mask.dtype}")
    x, y = pair("where", a, b)
    check_broadcast("where", mask.shape, x.shape, y.shape)
    return Where.apply(x, y, mask)


def clamp(x: TensorLike, min: Scalar | None = None, max: Scalar | None = None) -> Tensor:
    """x limited to [min, max]; the gradient passes at the limits themselves."""
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    x = as_tensor(x)
    if x.dtype.kind != "f" and (isinstance(min, float) or isinstance(max, float)):
        x = float_operand("clamp", x)
    return Clamp.apply(x, low=plain(min), high=plain(max))


def compare(ufunc: np.ufunc, a: Tensor, b: Any) -> Tensor:
    """A comparison or logical ufunc; the result is boolean and carries no gradient."""
    if not isinstance(b, Tensor | np.ndarray | np.generic | bool | int | float | list):
        return NotImplemented
    x: Any = a._data
    y: Any = b if isinstance(b, int | float) else Tensor(b)._data
    if isinstance(y, np.ndarray):
        check_broadcast(ufunc.__name__, x.shape, y.shape)
        if x.dtype != y.dtype:
            dtype = common_dtype(x.dtype, y.dtype)
            x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    return Tensor._wrap(ufunc(x, y))


def invert(x: TensorLike) -> Tensor:
    """Logical not of booleans, bitwise not of integers."""
    return Tensor._wrap(np.invert(raw(x)))


def isnan(x: TensorLike) -> Tensor:
    """True where x is NaN; no gradient."""
    return Tensor._wrap(np.isnan(raw(x)))


def isfinite(x: TensorLike) -> Tensor:
    """True where x is neither infinite nor NaN; no gradient."""
    return Tensor._wrap(np.isfinite(raw(x)))
