"""Softmax and its logarithm, computed without overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand, normalize_dim
from tinygrad_ft.ops.cast import to
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.unary import exp
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class Softmax(Function):
    """out[i] = e^x[i] / sum_j e^x[j]
    grad_x[i] = out[i] * (grad_out[i] - sum_j grad_out[j] * out[j])

    The maximum is subtracted first, which changes nothing in the quotient and keeps e^x finite.
    """

    def forward(self, x: np.ndarray, *, dim: int) -> np.ndarray:
        self.dim = dim
        self.save_output()
        e = np.exp(shifted(x, dim))
        return e / e.sum(axis=dim, keepdims=True)

    def backward(self, grad_out: Tensor) -> Grads:
        out = self.output()
        return (out * (grad_out - sum(grad_out * out, self.dim, keepdim=True)),)


class LogSoftmax(Function):
    """out[i] = x[i] - ln(sum_j e^x[j]);  grad_x[i] = grad_out[i] - e^out[i] * sum_j grad_out[j]"""

    def forward(self, x: np.ndarray, *, dim: int) -> np.ndarray:
        self.dim = dim
        self.save_output()
        below = shifted(x, dim)
        return below - np.log(np.exp(below).sum(axis=dim, keepdims=True))

    def backward(self, grad_out: Tensor) -> Grads:
        return (grad_out - exp(self.output()) * sum(grad_out, self.dim, keepdim=True),)


def shifted(x: np.ndarray, dim: int) -> np.ndarray:
    """x minus its maximum along `dim`."""
    if x.size == 0:
        return x
    return x - np.maximum.reduce(x, axis=dim, keepdims=True)


def softmax(input: TensorLike, dim: int, dtype: Any = None) -> Tensor:
    """e^x normalised to sum 1 along `dim`; with a `dtype` x is converted to it first.

    An infinity, or nothing but -inf along `dim`, makes that part NaN.
    """
    x = _operand("softmax", input, dtype)
    return Softmax.apply(x, dim=normalize_dim("softmax", dim, x.ndim))


def log_softmax(input: TensorLike, dim: int, dtype: Any = None) -> Tensor:
    """ln(softmax(x)), exact where softmax itself would underflow to 0; arguments as there."""
    x = _operand("log_softmax", input, dtype)
    return LogSoftmax.apply(x, dim=normalize_dim("log_softmax", dim, x.ndim))


def _operand(op: str, input: TensorLike, dtype: Any) -> Tensor:
    return float_operand(op, as_tensor(input) if dtype is None else to(as_tensor(input), dtype))
