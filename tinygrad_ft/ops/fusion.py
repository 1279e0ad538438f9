"""Fusion: batch norm, the addition of a residual, and relu in one pass over memory, not three.

Models are written op by op: `relu(bn(conv(x)) + x)`. Where fusion is on (it is by default), the
result of a batch norm in training, and the sum of such a result and another tensor, are not
computed at once but deferred (`deferred.py`). A relu that meets one of them computes everything
in one go, as the op BatchNormReLU. Whatever else looks at it makes it compute itself, by the ops
that were written down. So nothing changes but the time:

- values and gradients are those of the separate ops, of any order;
- the statistics of a batch norm are taken, and its running statistics moved, when it is called.

`set_fusion(False)` turns it off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kernels
from kernels.norm import Statistics, can_wait
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.grad_mode import is_grad_enabled
from tinygrad_ft.ops.activation import mask
from tinygrad_ft.ops.elementwise import Add
from tinygrad_ft.ops.fused_backward import norm_gradients
from tinygrad_ft.ops.norm import BatchNorm, batch_norm_gradients
from tinygrad_ft.tensor import Tensor

Grads = tuple[Tensor | None, ...]

_enabled = True


def set_fusion(enabled: bool) -> None:
    """Allow (default) or forbid that batch norm, addition and relu are computed together, and
    everything else that is computed in other portions than it is written in."""
    global _enabled
    _enabled = bool(enabled)
    kernels.set_joining(_enabled)


def fusion_enabled() -> bool:
    """Whether batch norm, addition and relu may be computed together."""
    return _enabled


class BatchNormReLU(Function):
    """out = relu(batch_norm(x) + residual)

    grad_residual = grad_out where batch_norm(x) + residual >= 0, else 0

    grad_x, grad_weight, grad_bias: those of batch_norm, given grad_residual
    """

    fresh_gradients = True
    runs_ahead = True

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        residual: np.ndarray | None,
        *,
        statistics: Statistics,
        eps: float,
    ) -> np.ndarray:
        self.eps, self.has_residual = eps, residual is not None
        for i in range(3):
            self.save_input(i)
        self.save_statistics("of x", statistics)
        keep = self.has_residual and self._recorded
        out, passes = kernels.batch_norm_apply(
            x, weight, bias, statistics, eps, residual, relu=True, keep_mask=keep
        )
        if passes is not None:
            self.save_constant("passes", passes)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        if is_grad_enabled():
            return self.recorded_backward(grad_out)
        inputs = (self.input(0), self.input(1), self.input(2))
        x, weight, bias = [t._array for t in inputs]
        mean, var, cut_off = self.statistics("of x")
        passes = self.constant("passes") if self.has_residual else None
        rest = (mean, var, self.eps, (bias, cut_off), passes)
        if _enabled and can_wait(grad_out._array, x, weight, mean, var):
            in_place = self.owns_gradient
            if in_place and self.has_residual:
                grad_out._version.change()  # its memory becomes the residual's gradient
            grads = norm_gradients(grad_out, inputs, *rest, in_place)
        else:
            arrays = kernels.batch_norm_backward(grad_out._array, x, weight, *rest)
            grads = tuple([Tensor._wrap(array) for array in arrays])
        return grads if self.has_residual else (*grads, None)

    def recorded_backward(self, grad_out: Tensor) -> Grads:
        x, weight, bias = (self.input(i) for i in range(3))
        if self.has_residual:
            passes = self.constant("passes")
        else:
            arrays = x._data, weight._data, bias._data
            statistics = kernels.batch_norm_statistics(x._data)
            before, _ = kernels.batch_norm_apply(*arrays, statistics, self.eps)
            passes = ~(before < 0)
        grad_sum = mask(grad_out, passes)
        grads = batch_norm_gradients(grad_sum, x, weight, self.eps)
        return *grads, grad_sum if self.has_residual else None


class DeferredNorm(Deferred):
    """The result of a batch norm whose statistics are known."""

    __slots__ = ("eps", "operands", "statistics")

    def __init__(
        self, x: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics, eps: float
    ) -> None:
        super().__init__(x.shape, x.dtype, (x, weight, bias))
        self.operands: tuple[Tensor, ...] = (x, weight, bias)
        self.statistics, self.eps = statistics, eps

    def compute(self) -> Tensor:
        out: Tensor = BatchNorm.apply(*self.operands, statistics=self.statistics, eps=self.eps)
        return out

    def forget(self) -> None:
        self.operands = ()

    def with_relu(self, residual: Tensor | None) -> Tensor:
        out: Tensor = BatchNormReLU.apply(
            *self.operands, residual, statistics=self.statistics, eps=self.eps
        )
        return out

    def then_relu(self) -> Tensor | None:
        return self.with_relu(None) if self.can_join else None

    def then_add(self, other: Any) -> Tensor | None:
        fits = isinstance(other, Tensor) and other.shape == self.shape and other.dtype == self.dtype
        return DeferredSum(self, other) if fits and self.can_join and other is not self else None


class DeferredSum(Deferred):
    """The sum of a batch norm's result and another tensor."""

    __slots__ = ("before", "residual")

    def __init__(self, norm: DeferredNorm, residual: Tensor) -> None:
        super().__init__(norm.shape, norm.dtype, (norm, residual))
        self.before: DeferredNorm | None = norm
        self.residual: Tensor | None = residual

    def compute(self) -> Tensor:
        out: Tensor = Add.apply(self.before, self.residual)
        return out

    def forget(self) -> None:
        self.before = self.residual = None

    def then_relu(self) -> Tensor | None:
        if self.can_join and self.before is not None and self.before.can_join:
            return self.before.with_relu(self.residual)
        return None
