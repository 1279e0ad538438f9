"""Activations: relu, sigmoid, tanh. z is the input of the activation and a = f(z) its output."""

from __future__ import annotations

import numpy as np

import kernels
from tinygrad_ft.deferred import Deferred
from tinygrad_ft.function import Function
from tinygrad_ft.ops._operands import as_tensor, float_operand
from tinygrad_ft.tensor import Tensor, TensorLike

Grads = tuple[Tensor | None, ...]


class ReLU(Function):
    """out = x where x >= 0, else 0;  grad_x = grad_out where x >= 0, else 0

    The derivative at exactly 0 is 1 (f'(x) = 1 for x >= 0); PyTorch takes 0 there. A NaN stays NaN.
    """

    def forward(self, x: np.ndarray) -> np.ndarray:
        # "not negative" rather than ">= 0": NaN passes, in the value and in the gradient
        out, passes = kernels.relu_forward(x)
        self.save_constant("passes", passes)
        return out

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("passes")),)


class Mask(Function):
    """out = x * scale where mask, else 0;  grad_x = grad_out * scale where mask, else 0"""

    def forward(self, x: np.ndarray, *, mask: np.ndarray, scale: float) -> np.ndarray:
        self.scale = scale
        self.save_constant("mask", mask)
        return kernels.mask_scale(x, mask, scale)

    def backward(self, grad_out: Tensor) -> Grads:
        return (mask(grad_out, self.constant("mask"), self.scale),)


class Sigmoid(Function):
    """out = 1 / (1 + e^-x);  grad_x = grad_out * out * (1 - out)"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_output()
        # e^-|x| never overflows: 1 / (1 + e) for x >= 0, e / (1 + e) for x < 0
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)

    def backward(self, grad_out: Tensor) -> Grads:
        out = self.output()
        return (grad_out * (out * (1.0 - out)),)


class Tanh(Function):
    """out = tanh x;  grad_x = grad_out * (1 - out^2)"""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_output()
        return np.tanh(x)

    def backward(self, grad_out: Tensor) -> Grads:
        out = self.output()
        return (grad_out * (1.0 - out * out),)


def relu(input: TensorLike) -> Tensor:
    """max(x, 0), with derivative 1 at exactly 0 (PyTorch has 0 there)."""
    if isinstance(input, Deferred) and (together := input.then_relu()) is not None:
        return together
    return ReLU.apply(as_tensor(input))


def mask(x: Tensor, mask: np.ndarray, scale: float = 1.0) -> Tensor:
    """x * scale where the boolean `mask` (same shape) holds, else 0."""
    return Mask.apply(x, mask=mask, scale=scale)


def sigmoid(input: TensorLike) -> Tensor:
    """1 / (1 + e^-x), without overflow."""
    return Sigmoid.apply(float_operand("sigmoid", input))


def tanh(input: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(float_operand("tanh", input))
