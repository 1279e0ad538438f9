"""Normalisation of groups of channels, straight from the formula: one group after the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def group_norm_forward(
    x: Array, weight: Array, bias: Array, groups: int, eps: float, centred: bool = True
) -> tuple[Array, Array, Array]:
    """(out, mean, var): (x - mean) / sqrt(var + eps) * weight + bias in each group of an image."""
    size = x.shape[1] // groups
    out = np.empty(x.shape, x.dtype)
    mean, var = np.empty((x.shape[0], groups), x.dtype), np.empty((x.shape[0], groups), x.dtype)
    for n, g in np.ndindex(mean.shape):
        channels = slice(g * size, (g + 1) * size)
        values = x[n, channels]
        mean[n, g] = np.sum(values) / values.size if centred else 0
        var[n, g] = np.sum((values - mean[n, g]) ** 2) / values.size
        out[n, channels] = (values - mean[n, g]) / np.sqrt(var[n, g] + eps)
        for c in range(channels.start, channels.stop):
            out[n, c] = out[n, c] * weight[c] + bias[c]
    return out, mean, var


def group_norm_backward(
    grad_out: Array,
    x: Array,
    weight: Array,
    mean: Array,
    var: Array,
    eps: float,
    centred: bool = True,
    need_grad_x: bool = True,
) -> tuple[Array | None, Array, Array]:
    """The chain rule through xhat = (x - mean) / std, the mean and the standard deviation."""
    groups = mean.shape[1]
    size = x.shape[1] // groups
    grad_x = np.empty(x.shape, x.dtype)
    grad_weight, grad_bias = np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
    for n, g in np.ndindex(mean.shape):
        std = np.sqrt(var[n, g] + eps)
        channels = slice(g * size, (g + 1) * size)
        centred_x = x[n, channels] - mean[n, g]
        grad_xhat = np.empty_like(centred_x)
        for k in range(size):
            c = g * size + k
            grad_weight[c] += np.sum(grad_out[n, c] * centred_x[k] / std)
            grad_bias[c] += np.sum(grad_out[n, c])
            grad_xhat[k] = grad_out[n, c] * weight[c]
        grad_var = np.sum(grad_xhat * centred_x) * -0.5 * std**-3
        grad_mean = -np.sum(grad_xhat) / std if centred else 0
        grad_x[n, channels] = grad_xhat / std + grad_var * 2 * centred_x / centred_x.size
        grad_x[n, channels] += grad_mean / centred_x.size
    return (grad_x if need_grad_x else None), grad_weight, grad_bias
