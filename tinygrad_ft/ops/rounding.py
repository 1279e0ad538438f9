"""Rounding, and division that rounds. These are flat between their steps: the gradient is 0."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._broadcasting import Broadcasting
from tinygrad_ft.ops._operands import as_tensor, pair
from tinygrad_ft.ops._unary import unary
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]
RoundingMode = Literal["floor", "trunc"]


def _keeping_integers(ufunc: np.ufunc) -> Any:
    """`ufunc` of floats; integers are their own result, which old versions of NumPy make floats."""
    return lambda x: ufunc(x) if x.dtype.kind == "f" else x.copy()


ceil = unary(
    "ceil",
    "The smallest integer that is not below x.",
    "out = ceil(x);  grad_x = 0",
    _keeping_integers(np.ceil),
    keeps_integers=True,
)

floor = unary(
    "floor",
    "The largest integer that is not above x.",
    "out = floor(x);  grad_x = 0",
    _keeping_integers(np.floor),
    keeps_integers=True,
)

trunc = unary(
    "trunc",
    "The integer next to x on the side of 0.",
    "out = sign(x) * floor(|x|);  grad_x = 0",
    _keeping_integers(np.trunc),
    keeps_integers=True,
)


class Round(Function):
    """out = round(x * 10^d) / 10^d;  grad_x = 0"""

    def forward(self, x: np.ndarray, *, decimals: int) -> np.ndarray:
        if x.dtype.kind != "f" and (decimals >= 0 or x.dtype == np.bool_):
            return x.copy()
        out = np.round(x, decimals)
        # what overflows when it is multiplied by 10^d has no places behind the point
        return np.where(np.isinf(out), x, out) if decimals > 0 else out

    def backward(self, grad_out: Tensor) -> Grads:
        return (Tensor._wrap(np.zeros_like(grad_out._data)),)


class RoundedDiv(Broadcasting):
    """out = floor(a / b);  grad_a = 0,  grad_b = 0

    With mode "trunc" the quotient is rounded towards 0.
    """

    def forward(self, a: np.ndarray, b: np.ndarray, *, mode: RoundingMode) -> np.ndarray:
        self.remember_shapes(a, b)
        if mode == "floor":
            return a // b
        # fmod has the sign of a, so that without it nothing is left to round
        return np.trunc(a / b) if a.dtype.kind == "f" else (a - np.fmod(a, b)) // b

    def backward(self, grad_out: Tensor) -> Grads:
        zeros = [Tensor._wrap(np.zeros(shape, grad_out.dtype)) for shape in self.shapes]
        return (
            zeros[0] if self.needs_input_grad[0] else None,
            zeros[1] if self.needs_input_grad[1] else None,
        )


class Remainder(Broadcasting):
    """out = a - b * floor(a / b);  grad_a = grad_out,  grad_b = -grad_out * floor(a / b)"""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.remember_shapes(a, b)
        self.save_input(0, needed_by=1)
        self.save_input(1, needed_by=1)
        return np.remainder(a, b)

    def backward(self, grad_out: Tensor) -> Grads:
        grad_a = self.fit(0, grad_out) if self.needs_input_grad[0] else None
        grad_b = None
        if self.needs_input_grad[1]:
            quotient = RoundedDiv.apply(self.input(0), self.input(1), mode="floor")
            grad_b = self.fit(1, -grad_out * quotient)
        return grad_a, grad_b


def round(input: TensorLike, *, decimals: int = 0) -> Tensor:
    """x rounded to `decimals` places; a half goes to the even neighbour. Integers stay integers.

    out = round(x * 10^d) / 10^d
    grad_x = 0
    """
    return Round.apply(as_tensor(input), decimals=decimals)


def rounded_div(op: str, input: TensorLike, other: TensorLike, mode: RoundingMode) -> Tensor:
    """The quotient as an integer; shared by `div` and `floor_divide`."""
    if mode not in ("floor", "trunc"):
        raise ValueError(f"{op}: rounding_mode must be None, 'floor' or 'trunc', got {mode!r}")
    return RoundedDiv.apply(*_divisible(op, input, other), mode=mode)


def floor_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """The quotient rounded down; of two integers an integer, ZeroDivisionError if one is by 0.

    out = floor(a / b)
    grad_a = 0
    grad_b = 0
    """
    return rounded_div("floor_divide", input, other, "floor")


def remainder(input: TensorLike, other: TensorLike) -> Tensor:
    """What `floor_divide` leaves over; it has the sign of `other`, as Python's % does."""
    return Remainder.apply(*_divisible("remainder", input, other))


def _divisible(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """The operands; ZeroDivisionError if an integer is divided by 0: that has no value."""
    x, y = pair(op, a, b)
    if x.dtype.kind != "f" and x.numel() and not y._data.all():
        raise ZeroDivisionError(f"{op}: integers of shape {x.shape} divided by 0 of {y.dtype}")
    return x, y
