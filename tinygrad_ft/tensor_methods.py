"""The methods of Tensor that compute: PyTorch's names, each one line that calls the op in `ops`."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type"

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Dims, Scalar, Tensor, TensorLike

# the methods shadow the built-in types in the annotations of the class body
Bool: TypeAlias = bool


class TensorMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    # ---- arithmetic ------------------------------------------------------------------------------

    def add(self, other: TensorLike) -> Tensor:
        return ops.add(self, other)

    def sub(self, other: TensorLike) -> Tensor:
        return ops.sub(self, other)

    def mul(self, other: TensorLike) -> Tensor:
        return ops.mul(self, other)

    def div(self, other: TensorLike) -> Tensor:
        return ops.div(self, other)

    def pow(self, exponent: TensorLike) -> Tensor:
        return ops.pow(self, exponent)

    def matmul(self, other: TensorLike) -> Tensor:
        return ops.matmul(self, other)

    def neg(self) -> Tensor:
        return ops.neg(self)

    def abs(self) -> Tensor:
        return ops.abs(self)

    __add__, __sub__, __mul__, __truediv__ = add, sub, mul, div
    __pow__, __matmul__, __neg__, __abs__ = pow, matmul, neg, abs

    def __radd__(self, other: TensorLike) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return ops.div(other, self)

    def __rpow__(self, base: TensorLike) -> Tensor:
        return ops.pow(base, self)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return ops.matmul(other, self)

    def exp(self) -> Tensor:
        return ops.exp(self)

    def log(self) -> Tensor:
        return ops.log(self)

    def sqrt(self) -> Tensor:
        return ops.sqrt(self)

    def square(self) -> Tensor:
        return ops.mul(self, self)

    def sin(self) -> Tensor:
        return ops.sin(self)

    def cos(self) -> Tensor:
        return ops.cos(self)

    def sigmoid(self) -> Tensor:
        return ops.sigmoid(self)

    def tanh(self) -> Tensor:
        return ops.tanh(self)

    def relu(self) -> Tensor:
        return ops.relu(self)

    def maximum(self, other: TensorLike) -> Tensor:
        return ops.maximum(self, other)

    def minimum(self, other: TensorLike) -> Tensor:
        return ops.minimum(self, other)

    def clamp(self, min: Scalar | None = None, max: Scalar | None = None) -> Tensor:
        return ops.clamp(self, min, max)

    def where(self, condition: TensorLike, other: TensorLike) -> Tensor:
        return ops.where(condition, self, other)

    def masked_fill(self, mask: TensorLike, value: Scalar) -> Tensor:
        return ops.where(mask, value, self)

    # ---- comparisons: boolean, without gradient --------------------------------------------------

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.compare(np.equal, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.compare(np.not_equal, self, other)

    def __lt__(self, other: Any) -> Tensor:
        return ops.compare(np.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.compare(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.compare(np.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.compare(np.greater_equal, self, other)

    def __and__(self, other: Any) -> Tensor:
        return ops.compare(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        return ops.compare(np.bitwise_or, self, other)

    def __invert__(self) -> Tensor:
        return ops.invert(self)

    def isnan(self) -> Tensor:
        return ops.isnan(self)

    def isfinite(self) -> Tensor:
        return ops.isfinite(self)

    def all(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.all(self, dim, keepdim)

    def any(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.any(self, dim, keepdim)

    # ---- reductions ------------------------------------------------------------------------------

    def sum(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.sum(self, dim, keepdim)

    def mean(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.mean(self, dim, keepdim)

    def var(self, dim: Dims = None, *, correction: int = 1, keepdim: Bool = False) -> Tensor:
        return ops.var(self, dim, correction=correction, keepdim=keepdim)

    def std(self, dim: Dims = None, *, correction: int = 1, keepdim: Bool = False) -> Tensor:
        return ops.std(self, dim, correction=correction, keepdim=keepdim)

    def amax(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.amax(self, dim, keepdim)

    def amin(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.amin(self, dim, keepdim)

    def max(self, dim: int | None = None, keepdim: Bool = False) -> Any:
        return ops.max(self, dim, keepdim)

    def min(self, dim: int | None = None, keepdim: Bool = False) -> Any:
        return ops.min(self, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: Bool = False) -> Tensor:
        return ops.argmax(self, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: Bool = False) -> Tensor:
        return ops.argmin(self, dim, keepdim)

    def softmax(self, dim: int) -> Tensor:
        return ops.softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        return ops.log_softmax(self, dim)

    def logsumexp(self, dim: Dims, keepdim: Bool = False) -> Tensor:
        return ops.logsumexp(self, dim, keepdim)

    # ---- shape and indexing ----------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        return ops.t(self)

    def t(self) -> Tensor:
        return ops.t(self)

    def reshape(self, *shape: Any) -> Tensor:
        return ops.reshape(self, variadic(shape))

    def view(self, *shape: Any) -> Tensor:
        """`reshape` that raises if it would have to copy."""
        return ops.view(self, variadic(shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return ops.flatten(self, start_dim, end_dim)

    def permute(self, *dims: Any) -> Tensor:
        return ops.permute(self, variadic(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return ops.transpose(self, dim0, dim1)

    def expand(self, *sizes: Any) -> Tensor:
        return ops.expand(self, variadic(sizes))

    def broadcast_to(self, size: Sequence[int]) -> Tensor:
        return ops.broadcast_to(self, size)

    def squeeze(self, dim: Dims = None) -> Tensor:
        return ops.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        return ops.unsqueeze(self, dim)


def variadic(args: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    if len(args) == 1 and isinstance(args[0], tuple | list):
        args = tuple(args[0])
    return tuple(int(a) for a in args)
