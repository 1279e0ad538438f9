"""The methods of Tensor that reduce, sort or multiply, each one line that calls an op of `ops`."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type"

from __future__ import annotations

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

    # ---- reductions ------------------------------------------------------------------------------

    def all(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.all(self, dim, keepdim)

    def any(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.any(self, dim, keepdim)

    def sum(self, dim: Dims = None, keepdim: Bool = False, *, dtype: Any = None) -> Tensor:
        return ops.sum(self, dim, keepdim, dtype=dtype)

    def mean(self, dim: Dims = None, keepdim: Bool = False, *, dtype: Any = None) -> Tensor:
        return ops.mean(self, dim, keepdim, dtype=dtype)

    def prod(self, dim: int | None = None, keepdim: Bool = False, *, dtype: Any = None) -> Tensor:
        return ops.prod(self, dim, keepdim, dtype=dtype)

    def var(
        self,
        dim: Dims = None,
        unbiased: Bool | None = None,
        keepdim: Bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        return ops.var(self, dim, unbiased, keepdim, correction=correction)

    def std(
        self,
        dim: Dims = None,
        unbiased: Bool | None = None,
        keepdim: Bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        return ops.std(self, dim, unbiased, keepdim, correction=correction)

    def norm(
        self,
        p: float | str | None = "fro",
        dim: Dims = None,
        keepdim: Bool = False,
        dtype: Any = None,
    ) -> Tensor:
        return ops.norm(self, p, dim, keepdim, dtype)

    def logsumexp(self, dim: Dims, keepdim: Bool = False) -> Tensor:
        return ops.logsumexp(self, dim, keepdim)

    def trace(self) -> Tensor:
        return ops.trace(self)

    def count_nonzero(self, dim: Dims = None) -> Tensor:
        return ops.count_nonzero(self, dim)

    def amax(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.amax(self, dim, keepdim)

    def amin(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        return ops.amin(self, dim, keepdim)

    def max(
        self,
        dim: int | Tensor | np.ndarray | None = None,
        keepdim: Bool = False,
        *,
        other: TensorLike | None = None,
    ) -> Any:
        return ops.max(self, dim, keepdim, other=other)

    def min(
        self,
        dim: int | Tensor | np.ndarray | None = None,
        keepdim: Bool = False,
        *,
        other: TensorLike | None = None,
    ) -> Any:
        return ops.min(self, dim, keepdim, other=other)

    def median(self, dim: int | None = None, keepdim: Bool = False) -> Any:
        return ops.median(self, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: Bool = False) -> Tensor:
        return ops.argmax(self, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: Bool = False) -> Tensor:
        return ops.argmin(self, dim, keepdim)

    # ---- along one dimension ---------------------------------------------------------------------

    def softmax(self, dim: int, dtype: Any = None) -> Tensor:
        return ops.softmax(self, dim, dtype)

    def log_softmax(self, dim: int, dtype: Any = None) -> Tensor:
        return ops.log_softmax(self, dim, dtype)

    def cumsum(self, dim: int, *, dtype: Any = None) -> Tensor:
        return ops.cumsum(self, dim, dtype=dtype)

    def cumprod(self, dim: int, *, dtype: Any = None) -> Tensor:
        return ops.cumprod(self, dim, dtype=dtype)

    def sort(self, dim: int = -1, descending: Bool = False, *, stable: Bool = False) -> Any:
        return ops.sort(self, dim, descending, stable=stable)

    def argsort(self, dim: int = -1, descending: Bool = False, *, stable: Bool = False) -> Tensor:
        return ops.argsort(self, dim, descending, stable=stable)

    def topk(self, k: int, dim: int = -1, largest: Bool = True, sorted: Bool = True) -> Any:
        return ops.topk(self, k, dim, largest, sorted)

    # ---- products of matrices --------------------------------------------------------------------

    def matmul(self, other: TensorLike) -> Tensor:
        return ops.matmul(self, other)

    __matmul__ = matmul

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return ops.matmul(other, self)

    def mm(self, mat2: TensorLike) -> Tensor:
        return ops.mm(self, mat2)

    def mv(self, vec: TensorLike) -> Tensor:
        return ops.mv(self, vec)

    def bmm(self, mat2: TensorLike) -> Tensor:
        return ops.bmm(self, mat2)

    def dot(self, other: TensorLike) -> Tensor:
        return ops.dot(self, other)

    def vdot(self, other: TensorLike) -> Tensor:
        return ops.vdot(self, other)

    def inner(self, other: TensorLike) -> Tensor:
        return ops.inner(self, other)

    def outer(self, vec2: TensorLike) -> Tensor:
        return ops.outer(self, vec2)

    def kron(self, other: TensorLike) -> Tensor:
        return ops.kron(self, other)

    def addmm(
        self, mat1: TensorLike, mat2: TensorLike, *, beta: Scalar = 1, alpha: Scalar = 1
    ) -> Tensor:
        return ops.addmm(self, mat1, mat2, beta=beta, alpha=alpha)

    def baddbmm(
        self, batch1: TensorLike, batch2: TensorLike, *, beta: Scalar = 1, alpha: Scalar = 1
    ) -> Tensor:
        return ops.baddbmm(self, batch1, batch2, beta=beta, alpha=alpha)
