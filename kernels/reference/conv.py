"""Convolution and its gradients, straight from the formula: loops over result pixels, nothing
shared with the kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]


def _window(x_padded: Array, i: int, j: int, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """The part of the padded images under the kernel at result pixel (i, j): (N, C, kH, kW), a
    view."""
    top, left = i * stride[0], j * stride[1]
    bottom = top + dilation[0] * (kernel[0] - 1) + 1
    right = left + dilation[1] * (kernel[1] - 1) + 1
    return x_padded[:, :, top : bottom : dilation[0], left : right : dilation[1]]


def _pad(x: Array, padding: Pair) -> Array:
    n, c, h, w = x.shape
    padded = np.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]), x.dtype)
    padded[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w] = x
    return padded


def conv2d_forward(
    x: Array,
    weight: Array,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """y[n, o, i, j] = sum of the window at (i, j) times weight[o], group by group."""
    padded = _pad(x, padding)
    kernel = (weight.shape[2], weight.shape[3])
    height = (padded.shape[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    outer, inner = weight.shape[0] // groups, weight.shape[1]
    y = np.zeros((x.shape[0], weight.shape[0], height, width), x.dtype)
    for i in range(height):
        for j in range(width):
            window = _window(padded, i, j, kernel, stride, dilation)
            for g in range(groups):
                o = slice(g * outer, (g + 1) * outer)
                c = slice(g * inner, (g + 1) * inner)
                y[:, o, i, j] = np.einsum("nchw,ochw->no", window[:, c], weight[o])
    return y


def conv2d_grad_input(
    grad_out: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Each result pixel hands its gradient back to its window."""
    padded = _pad(np.zeros(input_shape, grad_out.dtype), padding)
    kernel = (weight.shape[2], weight.shape[3])
    outer, inner = weight.shape[0] // groups, weight.shape[1]
    for i in range(grad_out.shape[2]):
        for j in range(grad_out.shape[3]):
            window = _window(padded, i, j, kernel, stride, dilation)
            for g in range(groups):
                o = slice(g * outer, (g + 1) * outer)
                c = slice(g * inner, (g + 1) * inner)
                window[:, c] += np.einsum("no,ochw->nchw", grad_out[:, o, i, j], weight[o])
    h, w = input_shape[2:]
    return padded[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]


def conv2d_grad_weight(
    grad_out: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Each result pixel contributes its gradient times its window."""
    padded = _pad(x, padding)
    kernel = (weight_shape[2], weight_shape[3])
    outer, inner = weight_shape[0] // groups, weight_shape[1]
    grad = np.zeros(weight_shape, x.dtype)
    for i in range(grad_out.shape[2]):
        for j in range(grad_out.shape[3]):
            window = _window(padded, i, j, kernel, stride, dilation)
            for g in range(groups):
                o = slice(g * outer, (g + 1) * outer)
                c = slice(g * inner, (g + 1) * inner)
                grad[o] += np.einsum("no,nchw->ochw", grad_out[:, o, i, j], window[:, c])
    return grad
