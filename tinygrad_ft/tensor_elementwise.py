"""The elementwise methods of Tensor: PyTorch's names, each one line that calls the op in `ops`."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type, call-overload, return-value"

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Scalar, Tensor, TensorLike

# a method may shadow a built-in type in the annotations of the class body
Bool: TypeAlias = bool
Float: TypeAlias = float


class ElementwiseMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    # ---- arithmetic ------------------------------------------------------------------------------

    def add(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return ops.add(self, other, alpha=alpha)

    def sub(self, other: TensorLike, *, alpha: Scalar = 1) -> Tensor:
        return ops.sub(self, other, alpha=alpha)

    def mul(self, other: TensorLike) -> Tensor:
        return ops.mul(self, other)

    def div(
        self, other: TensorLike, *, rounding_mode: Literal["floor", "trunc"] | None = None
    ) -> Tensor:
        return ops.div(self, other, rounding_mode=rounding_mode)

    def floor_divide(self, other: TensorLike) -> Tensor:
        return ops.floor_divide(self, other)

    def remainder(self, other: TensorLike) -> Tensor:
        return ops.remainder(self, other)

    def pow(self, exponent: TensorLike) -> Tensor:
        return ops.pow(self, exponent)

    def neg(self) -> Tensor:
        return ops.neg(self)

    def abs(self) -> Tensor:
        return ops.abs(self)

    def __add__(self, other: TensorLike) -> Tensor:
        return ops.add(self, other)

    def __sub__(self, other: TensorLike) -> Tensor:
        return ops.sub(self, other)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return ops.div(self, other)

    __mul__, __floordiv__, __mod__ = mul, floor_divide, remainder
    __pow__, __neg__, __abs__ = pow, neg, abs

    def __pos__(self) -> Tensor:
        return self

    def __radd__(self, other: TensorLike) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return ops.div(other, self)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return ops.floor_divide(other, self)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return ops.remainder(other, self)

    def __rpow__(self, base: TensorLike) -> Tensor:
        return ops.pow(base, self)

    # ---- functions of one number -----------------------------------------------------------------

    def acos(self) -> Tensor:
        return ops.acos(self)

    def asin(self) -> Tensor:
        return ops.asin(self)

    def atan(self) -> Tensor:
        return ops.atan(self)

    def ceil(self) -> Tensor:
        return ops.ceil(self)

    def cos(self) -> Tensor:
        return ops.cos(self)

    def cosh(self) -> Tensor:
        return ops.cosh(self)

    def erf(self) -> Tensor:
        return ops.erf(self)

    def exp(self) -> Tensor:
        return ops.exp(self)

    def exp2(self) -> Tensor:
        return ops.exp2(self)

    def expm1(self) -> Tensor:
        return ops.expm1(self)

    def floor(self) -> Tensor:
        return ops.floor(self)

    def log(self) -> Tensor:
        return ops.log(self)

    def log10(self) -> Tensor:
        return ops.log10(self)

    def log1p(self) -> Tensor:
        return ops.log1p(self)

    def log2(self) -> Tensor:
        return ops.log2(self)

    def reciprocal(self) -> Tensor:
        return ops.reciprocal(self)

    def relu(self) -> Tensor:
        return ops.relu(self)

    def round(self, *, decimals: int = 0) -> Tensor:
        return ops.round(self, decimals=decimals)

    def rsqrt(self) -> Tensor:
        return ops.rsqrt(self)

    def sigmoid(self) -> Tensor:
        return ops.sigmoid(self)

    def sign(self) -> Tensor:
        return ops.sign(self)

    def sin(self) -> Tensor:
        return ops.sin(self)

    def sinh(self) -> Tensor:
        return ops.sinh(self)

    def sqrt(self) -> Tensor:
        return ops.sqrt(self)

    def square(self) -> Tensor:
        return ops.square(self)

    def tan(self) -> Tensor:
        return ops.tan(self)

    def tanh(self) -> Tensor:
        return ops.tanh(self)

    def trunc(self) -> Tensor:
        return ops.trunc(self)

    # ---- functions of several --------------------------------------------------------------------

    def atan2(self, other: TensorLike) -> Tensor:
        return ops.atan2(self, other)

    def clamp(self, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
        return ops.clamp(self, min, max)

    def clip(self, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
        return ops.clip(self, min, max)

    def lerp(self, end: TensorLike, weight: TensorLike) -> Tensor:
        return ops.lerp(self, end, weight)

    def maximum(self, other: TensorLike) -> Tensor:
        return ops.maximum(self, other)

    def minimum(self, other: TensorLike) -> Tensor:
        return ops.minimum(self, other)

    def prelu(self, weight: Tensor) -> Tensor:
        return ops.prelu(self, weight)

    def where(self, condition: TensorLike, other: TensorLike) -> Tensor:
        return ops.where(condition, self, other)

    def masked_fill(self, mask: TensorLike, value: Scalar | Tensor) -> Tensor:
        return ops.masked_fill(self, mask, value)

    # ---- comparisons and logic: without gradient -------------------------------------------------

    def eq(self, other: TensorLike) -> Tensor:
        return ops.eq(self, other)

    def ne(self, other: TensorLike) -> Tensor:
        return ops.ne(self, other)

    def lt(self, other: TensorLike) -> Tensor:
        return ops.lt(self, other)

    def le(self, other: TensorLike) -> Tensor:
        return ops.le(self, other)

    def gt(self, other: TensorLike) -> Tensor:
        return ops.gt(self, other)

    def ge(self, other: TensorLike) -> Tensor:
        return ops.ge(self, other)

    def isclose(
        self,
        other: TensorLike,
        rtol: Float = 1e-05,
        atol: Float = 1e-08,
        equal_nan: Bool = False,
    ) -> Tensor:
        return ops.isclose(self, other, rtol, atol, equal_nan)

    def allclose(
        self,
        other: TensorLike,
        rtol: Float = 1e-05,
        atol: Float = 1e-08,
        equal_nan: Bool = False,
    ) -> Bool:
        return ops.allclose(self, other, rtol, atol, equal_nan)

    def equal(self, other: TensorLike) -> Bool:
        return ops.equal(self, other)

    def logical_and(self, other: TensorLike) -> Tensor:
        return ops.logical_and(self, other)

    def logical_or(self, other: TensorLike) -> Tensor:
        return ops.logical_or(self, other)

    def logical_xor(self, other: TensorLike) -> Tensor:
        return ops.logical_xor(self, other)

    def logical_not(self) -> Tensor:
        return ops.logical_not(self)

    def isnan(self) -> Tensor:
        return ops.isnan(self)

    def isinf(self) -> Tensor:
        return ops.isinf(self)

    def isfinite(self) -> Tensor:
        return ops.isfinite(self)

    # an operator leaves what is no number to Python: `x == None` is False

    def __eq__(self, other: Any) -> Any:
        return ops.eq(self, other) if ops.comparable(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return ops.ne(self, other) if ops.comparable(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return ops.lt(self, other) if ops.comparable(other) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return ops.le(self, other) if ops.comparable(other) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return ops.gt(self, other) if ops.comparable(other) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return ops.ge(self, other) if ops.comparable(other) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return ops.bitwise_and(self, other) if ops.comparable(other) else NotImplemented

    def __or__(self, other: Any) -> Any:
        return ops.bitwise_or(self, other) if ops.comparable(other) else NotImplemented

    def __xor__(self, other: Any) -> Any:
        return ops.bitwise_xor(self, other) if ops.comparable(other) else NotImplemented

    # the logic of bits does not mind the order
    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __contains__(self, element: TensorLike) -> Bool:
        """Whether any element is equal to it."""
        return bool(ops.any(ops.eq(self, element)))

    def __invert__(self) -> Tensor:
        return ops.invert(self)
