"""Softmax and its logarithm, computed without overflow."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import float_operand, normalize_dim
from tinygrad_ft.ops.elementwise import exp
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Softmax(Function):
    """out_i = e^x_i / sum_j e^x_j;  grad_x = out * (grad_out - sum_j grad_out_j * out_j)

    The maximum is subtracted first, which changes nothing in the quotient and keeps e^x finite.
    """

    def forward(self, x: np.ndarray, *, dim: int) -> np.ndarray:
        self.dim = dim
        self.save_output()
        e = np.exp(_shifted(x, dim))
        return e / e.sum(axis=dim, keepdims=True)

    def backward(self, grad_out: Tensor) -> Grads:
        out = self.output()
        return (out * (grad_out - sum(grad_out * out, self.dim, keepdim=True)),)


class LogSoftmax(Function):
    """out_i = x_i - log sum_j e^x_j;  grad_x = grad_out - e^out * sum_j grad_out_j"""

    def forward(self, x: np.ndarray, *, dim: int) -> np.ndarray:
        self.dim = dim
        self.save_output()
        shifted = _shifted(x, dim)
        return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out - exp(self.output()) * sum(grad_out, self.dim, keepdim=True),)


def _shifted(x: np.ndarray, dim: int) -> np.ndarray:
    """x minus its maximum along `dim`."""
    if x.size == 0:
        return x
    return x - x.max(axis=dim, keepdims=True)


def softmax(input: TensorLike, dim: int) -> Tensor:
    """e^x normalised to sum 1 along `dim`."""
    x = float_operand("softmax", input)
    return Softmax.apply(x, dim=normalize_dim("softmax", dim, x.ndim))


def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """log(softmax(x)), exact where softmax itself would underflow to 0."""
    x = float_operand("log_softmax", input)
    return LogSoftmax.apply(x, dim=normalize_dim("log_softmax", dim, x.ndim))
