"""Batch normalisation, straight from the formula: one channel after the other.

`batch_norm_forward` and `batch_norm_backward` are plain; with relu and a residual they are
`add_relu` after the one, and `add_relu_backward` before the other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def batch_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """(out, mean, var): (x - mean) / sqrt(var + eps) * weight + bias in each channel."""
    out = np.empty(x.shape, x.dtype)
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    for c in range(x.shape[1]):
        values = x[:, c]
        mean[c] = np.sum(values) / values.size
        var[c] = np.sum((values - mean[c]) ** 2) / values.size
        out[:, c] = (values - mean[c]) / np.sqrt(var[c] + eps) * weight[c] + bias[c]
    return out, mean, var


def batch_norm_backward(
    grad_out: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """The chain rule through xhat = (x - mean) / std, the mean and the standard deviation."""
    grad_x = np.empty(x.shape, x.dtype)
    grad_weight, grad_bias = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    for c in range(x.shape[1]):
        std = np.sqrt(var[c] + eps)
        centred = x[:, c] - mean[c]
        grad_weight[c] = np.sum(grad_out[:, c] * centred / std)
        grad_bias[c] = np.sum(grad_out[:, c])
        grad_xhat = grad_out[:, c] * weight[c]
        grad_var = np.sum(grad_xhat * centred) * -0.5 * std**-3
        grad_mean = -np.sum(grad_xhat) / std
        grad_x[:, c] = grad_xhat / std + grad_var * 2 * centred / centred.size
        grad_x[:, c] += grad_mean / centred.size
    return grad_x, grad_weight, grad_bias


def channel_affine(x: Array, scale: Array, shift: Array) -> Array:
    """x * scale + shift in each channel."""
    out = np.empty(x.shape, x.dtype)
    for c in range(x.shape[1]):
        out[:, c] = x[:, c] * scale[c] + shift[c]
    return out


def add_relu(out: Array, residual: Array | None = None) -> tuple[Array, Array]:
    """(relu(out + residual), where relu lets its input through)."""
    before = out if residual is None else out + residual
    passes = ~(before < 0)
    return np.where(passes, before, 0).astype(out.dtype), passes


def add_relu_backward(grad_out: Array, passes: Array) -> Array:
    """The gradient of out and of the residual alike."""
    return np.where(passes, grad_out, 0).astype(grad_out.dtype)
